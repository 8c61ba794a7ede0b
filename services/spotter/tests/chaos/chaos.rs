//! One scenario from its start to its verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use domain::{TaskId, TaskRecord};
use futures_util::{StreamExt, stream};
use messaging::{DeadLetterId, Messaging, MessagingConfig, QueueDepth, Role};
use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use reqwest::StatusCode;

use crate::{
    checker::{Bounds, Case, Evidence, Leftover, Violation, check, count_runs},
    client::insist,
    end::End,
    faults::{Fault, Ongoing, Site},
    history::{CALM, History, Told},
    load::{Load, LoadPlan},
    report::Report,
    stand::{Plan, Stand},
};

/// How often processes that ended by themselves are looked for.
const TEND_EVERY: Duration = Duration::from_millis(100);

/// What every scenario begins with, to have something to compare with.
const FIRST_CALM: Duration = Duration::from_secs(2);

/// How long the APIs may take to find that queue and records agree again.
const LOOKED_AGAIN: Duration = Duration::from_secs(20);

/// How many violations are shown.
const SHOWN: usize = 20;

/// A system under load with things going wrong.
pub(crate) struct Chaos {
    pub(crate) stand: Stand,
    pub(crate) load: Load,
    pub(crate) rng: Xoshiro256PlusPlus,
    name: &'static str,
    seed: u64,
    injections: BTreeMap<&'static str, u32>,
    /// How often the server may have forgotten how often it handed out a job.
    resets: u32,
}

impl Chaos {
    pub(crate) fn start(name: &'static str, plan: Plan, load: LoadPlan) -> Self {
        let seed = seed();
        eprintln!("{name}: CHAOS_SEED={seed}");
        let stand = Stand::start(plan);
        let load = Load::start(load, stand.bases(), seed);
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut chaos =
            Self { stand, load, rng, name, seed, injections: BTreeMap::new(), resets: 0 };
        chaos.pass(FIRST_CALM);
        chaos
    }

    /// Lets time pass, and starts again what has ended by itself.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.stand.tend();
            thread::sleep(TEND_EVERY.min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// A random time between two numbers of milliseconds.
    pub(crate) fn random_ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..=to))
    }

    /// Breaks one thing for a while.
    pub(crate) fn during(&mut self, fault: Fault, time: Duration) {
        self.during_all(&[fault], time);
    }

    /// Breaks several things for a while. What is submitted meanwhile counts for the first.
    pub(crate) fn during_all(&mut self, faults: &[Fault], time: Duration) {
        let Some(first) = faults.first() else { return };
        self.load.history.now(first.name());
        let mut ongoing = Vec::new();
        for fault in faults {
            *self.injections.entry(fault.name()).or_default() += 1;
            self.resets += u32::from(fault.resets_deliveries());
            let Self { stand, load, rng, .. } = self;
            ongoing.push(fault.begin(&mut Site { stand, load, rng }));
        }
        self.pass(time);
        ongoing.into_iter().rev().for_each(|ongoing: Ongoing| ongoing.end(&mut self.stand));
        self.load.history.now(CALM);
    }

    /// Names what is done by the scenario itself, for the table.
    pub(crate) fn label(&mut self, name: &'static str) {
        if name != CALM {
            *self.injections.entry(name).or_default() += 1;
        }
        self.load.history.now(name);
    }

    /// Stops the load, waits for the queue to become empty, and holds everything against the
    /// invariants.
    ///
    /// # Panics
    /// If an invariant does not hold, with the seed and what was found.
    pub(crate) fn finish(self, bounds: Bounds) -> Report {
        let (name, seed) = (self.name, self.seed);
        let (report, violations) = self.judge(bounds);
        if violations.is_empty() {
            return report;
        }
        let shown: Vec<String> =
            violations.iter().take(SHOWN).map(|violation| format!("{violation:?}")).collect();
        panic!(
            "{name}: {} violations; repeat with CHAOS_SEED={seed}\n{}",
            violations.len(),
            shown.join("\n")
        );
    }

    /// As [`Chaos::finish`], but leaves it to the caller what violations mean.
    pub(crate) fn judge(mut self, bounds: Bounds) -> (Report, Vec<Violation>) {
        self.load.stop();
        let healed = Instant::now();
        // What is found after the bound is reported as late rather than as lost.
        let (leftover, drained) = self.drain(healed, bounds.ends_within * 3 / 2);
        let runs = self.gather();
        let dead = self.dead_letters();
        let discrepancies = self.discrepancies();
        let Self { stand, load, name, seed, injections, resets, .. } = self;
        let told = load.end().into_told();
        // A server that forgets its counts hands a job out anew; nothing else adds runs.
        let bounds = Bounds { runs: bounds.runs.saturating_mul(1 + resets), ..bounds };
        let tasks = evidence(&told, &runs, &dead, healed);
        let case =
            Case { tasks: &tasks, keys: &told.keys, leftover, discrepancies, odd: &told.odd };
        let violations = check(&case, bounds);
        let report = Report::new(&told, &runs, &injections, drained);
        eprintln!("{name}, CHAOS_SEED={seed}\n{report}");
        drop(stand);
        (report, violations)
    }

    /// Waits until nothing is left in the queue and every end has been seen.
    fn drain(&mut self, healed: Instant, patience: Duration) -> (Leftover, Duration) {
        let url = self.stand.nats.url();
        let messaging = self.load.runtime.block_on(connect(url));
        let queue = messaging.queue();
        loop {
            self.stand.tend();
            let depth = self.load.runtime.block_on(queue.depth());
            let depth = depth.unwrap_or(QueueDepth { waiting: u64::MAX, in_progress: u64::MAX });
            let leftover = Leftover {
                stored: self.stand.nats.jobs().map_or(u64::MAX, |jobs| jobs.messages),
                waiting: depth.waiting,
                in_progress: depth.in_progress,
            };
            let done = leftover == Leftover::default() && self.load.history.open() == 0;
            if done || healed.elapsed() > patience {
                return (leftover, healed.elapsed());
            }
            thread::sleep(TEND_EVERY);
        }
    }

    /// What the APIs tell of differences between queue and records, once they have looked again: what they
    /// found before everything was mended, and in a round that was under way then, says nothing.
    fn discrepancies(&self) -> u64 {
        const LAST_ROUND: &str = "spotter_reconciler_last_round_timestamp_seconds{";
        let bases = self.stand.bases();
        let ask = |metric| self.load.runtime.block_on(sum_of(&bases, metric));
        let patience = Instant::now() + LOOKED_AGAIN;
        let (mut last_round, mut rounds) = (ask(LAST_ROUND), 0);
        loop {
            let now = ask(LAST_ROUND);
            rounds += u32::from(now != last_round);
            last_round = now;
            match ask("spotter_discrepancies{") {
                Some(0) if rounds >= 2 => return 0,
                told if Instant::now() > patience => return told.unwrap_or(u64::MAX),
                _ => thread::sleep(TEND_EVERY),
            }
        }
    }

    /// The tasks whose jobs are among the dead letters, with their pictures.
    fn dead_letters(&self) -> BTreeSet<TaskId> {
        self.load.runtime.block_on(async {
            let letters = connect(self.stand.nats.url()).await.dead_letters();
            let mut dead = BTreeSet::new();
            let mut last = 0;
            loop {
                let page = letters.list_after(last).await.expect("dead letters can be read");
                let Some(letter) = page.last() else { return dead };
                last = letter.sequence;
                let whole = page.iter().filter(|letter| letter.picture.bytes().is_some());
                dead.extend(whole.filter_map(|letter| match letter.id() {
                    DeadLetterId::Task(id) => Some(id),
                    DeadLetterId::Sequence(_) => None,
                }));
            }
        })
    }

    /// Asks everybody once more for every end, and reads the workers' logs.
    fn gather(&self) -> BTreeMap<TaskId, u32> {
        let history = &self.load.history;
        let ids = history.ids();
        self.load.runtime.block_on(async {
            let tasks = connect(self.stand.nats.url()).await.tasks();
            let http = reqwest::Client::new();
            let bases = self.stand.bases();
            stream::iter(&ids)
                .for_each_concurrent(8, async |id| {
                    let record = tasks.get(*id).await.expect("the bucket can be read");
                    history.saw(*id, "record", record.as_ref().and_then(End::from_record));
                    for base in &bases {
                        ask_the_api(history, &http, base, *id).await;
                    }
                })
                .await;
        });
        for id in ids {
            if let Some(copy) = self.stand.redis.get(&format!("spotter:task:{id}")) {
                let record: TaskRecord = serde_json::from_str(&copy).expect("a copy is a record");
                history.saw(id, "Redis", End::from_record(&record));
            }
        }
        let lines = self.stand.lines();
        if let Ok(folder) = std::env::var("CHAOS_LOGS") {
            let path = format!("{folder}/{}.log", self.name.replace(' ', "-"));
            std::fs::write(path, lines.join("\n")).expect("CHAOS_LOGS is a folder");
        }
        count_runs(&lines)
    }
}

async fn connect(url: String) -> Messaging {
    let config = MessagingConfig::new(url.parse().unwrap(), Role::Cli);
    Messaging::connect(config).await.expect("NATS can be reached when everything is mended")
}

/// The sum of a metric over its labels and all APIs; `None` if one does not answer.
async fn sum_of(bases: &[String], metric: &str) -> Option<u64> {
    let mut sum = 0;
    for base in bases {
        let text = reqwest::get(format!("{base}/metrics")).await.ok()?.text().await.ok()?;
        let values = text.lines().filter(|line| line.starts_with(metric));
        let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        sum += values.sum::<u64>();
    }
    Some(sum)
}

/// Both routes; the second of them is answered from Redis if the first has filled it.
async fn ask_the_api(history: &Arc<History>, http: &reqwest::Client, base: &str, id: TaskId) {
    match insist(http, &format!("{base}/v1/tasks/{id}")).await {
        Some((StatusCode::OK, task)) => history.saw(id, "API", End::from_v1(&task)),
        Some((StatusCode::NOT_FOUND | StatusCode::GONE, _)) => history.denied(id),
        answer => history.odd(format!("{answer:?} when asked for {id} at the end")),
    }
    let Some(first) = history.first(id) else { return };
    match insist(http, &format!("{base}/task_result/{id}")).await {
        Some((StatusCode::OK, task)) if first.is_told_by(&task) => {}
        answer => history.odd(format!("/task_result/{id}: {answer:?}, but it ended {first:?}")),
    }
}

fn evidence(
    told: &Told,
    runs: &BTreeMap<TaskId, u32>,
    dead: &BTreeSet<TaskId>,
    healed: Instant,
) -> Vec<Evidence> {
    let of = |(id, task): (&TaskId, &crate::history::Accepted)| {
        let counted_from = task.at.max(healed);
        let first = task.first.as_ref();
        Evidence {
            id: *id,
            hope: task.hope,
            first: first.map(|(end, at)| (end.clone(), at.saturating_duration_since(counted_from))),
            others: task.others.clone(),
            denied: task.denied,
            runs: runs.get(id).copied().unwrap_or_default(),
            is_dead: dead.contains(id),
        }
    };
    told.accepted.iter().map(of).collect()
}

fn seed() -> u64 {
    let fresh =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    match std::env::var("CHAOS_SEED") {
        Ok(seed) => seed.parse().expect("CHAOS_SEED is a number"),
        Err(_) => fresh(),
    }
}
