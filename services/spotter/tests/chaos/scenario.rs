//! One scenario, from its start to its verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use domain::{TaskId, TaskRecord};
use futures_util::{StreamExt, stream};
use messaging::{DeadLetterId, Messaging, MessagingConfig, MessagingError, QueueDepth, Role};
use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use reqwest::StatusCode;
use serde_json::Value;

use crate::{
    environment::{Environment, Plan},
    faults::{ActiveFault, Fault, FaultContext},
    load::client::get_with_retry,
    load::{Load, LoadPlan},
    verdict::checker::{Bounds, Case, Evidence, Leftover, Violation, Webhook, check, count_runs},
    verdict::history::{CALM, History, Observed},
    verdict::report::Report,
    verdict::terminal_state::TerminalState,
};

/// How often processes that exited by themselves are looked for.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// The time without faults at the beginning of every scenario, as a baseline.
const FIRST_CALM: Duration = Duration::from_secs(2);

/// How long the APIs may take to find no discrepancy between queue and records.
const RECONCILED_WITHIN: Duration = Duration::from_secs(20);

/// How often a stream is read until it answers; each attempt takes up to the request timeout of 5 s.
const READ_ATTEMPTS: usize = 6;

/// How long one of these reads may take.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How many violations are shown.
const SHOWN: usize = 20;

/// A system under load into which faults are injected.
pub(crate) struct Scenario {
    pub(crate) environment: Environment,
    pub(crate) load: Load,
    pub(crate) rng: Xoshiro256PlusPlus,
    name: &'static str,
    seed: u64,
    injections: BTreeMap<&'static str, u32>,
    /// How often the server may have lost its delivery counts.
    resets: u32,
}

impl Scenario {
    pub(crate) fn start(name: &'static str, plan: Plan, load: LoadPlan) -> Self {
        let seed = seed();
        eprintln!("{name}: CHAOS_SEED={seed}");
        let environment = Environment::start(plan);
        let load = Load::start(load, &environment, seed);
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut scenario =
            Self { environment, load, rng, name, seed, injections: BTreeMap::new(), resets: 0 };
        scenario.pass(FIRST_CALM);
        scenario
    }

    /// Waits, and restarts processes that exit by themselves.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.environment.restart_exited();
            thread::sleep(POLL_EVERY.min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// A random time between two numbers of milliseconds.
    pub(crate) fn random_ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..=to))
    }

    /// Injects one fault for a while.
    pub(crate) fn during(&mut self, fault: Fault, time: Duration) {
        self.during_all(&[fault], time);
    }

    /// Injects several faults for a while. Submissions meanwhile count for the first one.
    pub(crate) fn during_all(&mut self, faults: &[Fault], time: Duration) {
        let Some(first) = faults.first() else { return };
        self.load.history.set_fault(first.name());
        let mut active = Vec::new();
        for fault in faults {
            *self.injections.entry(fault.name()).or_default() += 1;
            self.resets += u32::from(fault.resets_deliveries());
            let Self { environment, load, rng, .. } = self;
            active.push(fault.inject(&mut FaultContext { environment, load, rng }));
        }
        self.pass(time);
        active.into_iter().rev().for_each(|active: ActiveFault| active.heal(&mut self.environment));
        self.load.history.set_fault(CALM);
    }

    /// Names a fault that the scenario injects itself, for the table.
    pub(crate) fn label(&mut self, name: &'static str) {
        if name != CALM {
            *self.injections.entry(name).or_default() += 1;
        }
        self.load.history.set_fault(name);
    }

    /// Stops the load, waits until the queue is empty, and checks the history against the invariants.
    ///
    /// # Panics
    /// If an invariant is violated, with the seed and the violations.
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

    /// As [`Scenario::finish`], but returns the violations.
    pub(crate) fn judge(mut self, bounds: Bounds) -> (Report, Vec<Violation>) {
        self.load.stop();
        let healed = Instant::now();
        // A task that becomes terminal after the bound is reported as late rather than as lost.
        let (leftover, drained) = self.drain(healed, bounds.terminal_within * 3 / 2);
        let runs = self.gather();
        let dead = self.dead_letters();
        let webhooks = self.webhooks();
        let discrepancies = self.discrepancies();
        let Self { environment, load, name, seed, injections, resets, .. } = self;
        let observed = load.end().into_observed();
        // A server that loses its counts redelivers a job; nothing else adds runs.
        let bounds = Bounds { runs: bounds.runs.saturating_mul(1 + resets), ..bounds };
        let tasks = evidence(&observed, &runs, &dead, &webhooks, healed);
        let case = Case {
            tasks: &tasks,
            keys: &observed.keys,
            leftover,
            discrepancies,
            unexpected: &observed.unexpected,
        };
        let violations = check(&case, bounds);
        let report = Report::new(&observed, &runs, &webhooks, &injections, drained);
        eprintln!("{name}, CHAOS_SEED={seed}\n{report}");
        drop(environment);
        (report, violations)
    }

    /// Waits until the queue is empty and every task has been observed to be terminal.
    fn drain(&mut self, healed: Instant, timeout: Duration) -> (Leftover, Duration) {
        let url = self.environment.nats.url();
        let messaging = self.load.runtime.block_on(connect(url));
        let queue = messaging.queue();
        loop {
            self.environment.restart_exited();
            let depth = self.load.runtime.block_on(queue.depth());
            let depth = depth.unwrap_or(QueueDepth { waiting: u64::MAX, in_progress: u64::MAX });
            let leftover = Leftover {
                stored: self.messages_in("JOBS"),
                waiting: depth.waiting,
                in_progress: depth.in_progress,
                webhooks: self.messages_in("WEBHOOKS"),
            };
            let done = leftover == Leftover::default() && self.load.history.open() == 0;
            if done || healed.elapsed() > timeout {
                return (leftover, healed.elapsed());
            }
            thread::sleep(POLL_EVERY);
        }
    }

    fn messages_in(&self, stream: &str) -> u64 {
        self.environment.nats.stream(stream).map_or(u64::MAX, |state| state.messages)
    }

    /// The discrepancies that the APIs report between queue and records. Only rounds that began after the heal count.
    fn discrepancies(&self) -> u64 {
        const LAST_ROUND: &str = "spotter_reconciler_last_round_timestamp_seconds{";
        let bases = self.environment.bases();
        let ask = |metric| self.load.runtime.block_on(sum_of(&bases, metric));
        let timeout = Instant::now() + RECONCILED_WITHIN;
        let (mut last_round, mut rounds) = (ask(LAST_ROUND), 0);
        loop {
            let now = ask(LAST_ROUND);
            rounds += u32::from(now != last_round);
            last_round = now;
            match ask("spotter_discrepancies{") {
                Some(0) if rounds >= 2 => return 0,
                reported if Instant::now() > timeout => return reported.unwrap_or(u64::MAX),
                _ => thread::sleep(POLL_EVERY),
            }
        }
    }

    /// The tasks whose jobs are among the dead letters, with their pictures.
    fn dead_letters(&self) -> BTreeSet<TaskId> {
        self.load.runtime.block_on(async {
            let letters = connect(self.environment.nats.url()).await.dead_letters();
            let mut dead = BTreeSet::new();
            let mut last = 0;
            loop {
                let page = with_retry(async || letters.list_after(last).await).await;
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

    /// What became of the webhook of each task that has a callback.
    fn webhooks(&self) -> BTreeMap<TaskId, Webhook> {
        let history = &self.load.history;
        let taken = self.environment.receiver.taken();
        for webhook in taken.unreadable {
            history.unexpected(format!("no webhook of a terminal state: {webhook}"));
        }
        let mut webhooks: BTreeMap<TaskId, Webhook> = self.dead_webhooks();
        for (id, states) in taken.states {
            webhooks.insert(id, Webhook::Taken(states.len()));
            for state in states {
                history.observe(id, "webhook", Some(state));
            }
        }
        webhooks
    }

    fn dead_webhooks(&self) -> BTreeMap<TaskId, Webhook> {
        self.load.runtime.block_on(async {
            let dead = connect(self.environment.nats.url()).await.dead_webhooks();
            let mut found = BTreeMap::new();
            let mut last = 0;
            loop {
                let page = with_retry(async || dead.list_after(last).await).await;
                let Some(webhook) = page.last() else { return found };
                last = webhook.sequence;
                found.extend(page.iter().map(|dead| (dead.ended.id(), Webhook::Dead)));
            }
        })
    }

    /// Reads every task once more from every source, and the workers' logs.
    fn gather(&self) -> BTreeMap<TaskId, u32> {
        let history = &self.load.history;
        let ids = history.ids();
        self.load.runtime.block_on(async {
            let tasks = connect(self.environment.nats.url()).await.tasks();
            let http = testkit::http_client(READ_TIMEOUT);
            let bases = self.environment.bases();
            stream::iter(&ids)
                .for_each_concurrent(8, async |id| {
                    let record = tasks.get(*id).await.expect("the bucket can be read");
                    history.observe(
                        *id,
                        "record",
                        record.as_ref().and_then(TerminalState::from_record),
                    );
                    for base in &bases {
                        ask_the_api(history, &http, base, *id).await;
                    }
                })
                .await;
        });
        for id in ids {
            if let Some(copy) = self.environment.redis.get(&format!("spotter:task:{id}")) {
                let record: TaskRecord = serde_json::from_str(&copy).expect("a copy is a record");
                history.observe(id, "Redis", TerminalState::from_record(&record));
            }
        }
        let lines = self.environment.lines();
        if let Ok(folder) = std::env::var("CHAOS_LOGS") {
            let path = format!("{folder}/{}.log", self.name.replace(' ', "-"));
            std::fs::write(path, lines.join("\n")).expect("CHAOS_LOGS is a folder");
        }
        count_runs(&lines)
    }
}

/// Retries a read: a stream of a cluster may be without a leader for some seconds after the heal.
async fn with_retry<T>(read: impl AsyncFn() -> Result<T, MessagingError>) -> T {
    for _ in 0..READ_ATTEMPTS {
        match read().await {
            Ok(found) => return found,
            Err(error) => eprintln!("reading again: {error}"),
        }
    }
    panic!("a stream cannot be read");
}

async fn connect(url: String) -> Messaging {
    let config = MessagingConfig::new(url.parse().unwrap(), Role::Cli);
    Messaging::connect(config).await.expect("NATS can be reached after the heal")
}

/// The sum of a metric over its labels and all APIs; `None` if one does not answer.
async fn sum_of(bases: &[String], metric: &str) -> Option<u64> {
    let mut sum = 0;
    for base in bases {
        let text = testkit::http_client(READ_TIMEOUT)
            .get(format!("{base}/metrics"))
            .send()
            .await
            .ok()?
            .text()
            .await
            .ok()?;
        let values = text.lines().filter(|line| line.starts_with(metric));
        let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        sum += values.sum::<u64>();
    }
    Some(sum)
}

/// Reads a task by both routes. The second is answered from Redis if the first has filled it.
async fn ask_the_api(history: &Arc<History>, http: &reqwest::Client, base: &str, id: TaskId) {
    match get_with_retry(http, &format!("{base}/v1/tasks/{id}")).await {
        Some((StatusCode::OK, task)) => history.observe(id, "API", TerminalState::from_v1(&task)),
        Some((StatusCode::NOT_FOUND | StatusCode::GONE, _)) => history.denied(id),
        answer => history.unexpected(format!("{answer:?} when reading {id} after the scenario")),
    }
    let Some(first) = history.first(id) else { return };
    if history.has_drawing(id) {
        ask_for_the_drawing(history, http, base, id).await;
    }
    match get_with_retry(http, &format!("{base}/task_result/{id}")).await {
        Some((StatusCode::OK, task)) if first.matches_original(&task) => {}
        answer => history.unexpected(format!("/task_result/{id}: {answer:?}, but it is {first:?}")),
    }
}

/// A task that succeeds has its drawing, or a warning that says why not.
async fn ask_for_the_drawing(
    history: &Arc<History>,
    http: &reqwest::Client,
    base: &str,
    id: TaskId,
) {
    let url = format!("{base}/v1/tasks/{id}");
    let drawn = http.get(format!("{url}/image")).send().await;
    if drawn.as_ref().is_ok_and(|answer| answer.status() == StatusCode::OK) {
        return;
    }
    let task = get_with_retry(http, &url).await;
    let has_warning =
        |task: &Value| task["warnings"].to_string().contains("drawn objects is missing");
    if !task.as_ref().is_some_and(|(_, task)| has_warning(task)) {
        history.unexpected(format!("{drawn:?} for the drawing of {task:?}"));
    }
}

fn evidence(
    observed: &Observed,
    runs: &BTreeMap<TaskId, u32>,
    dead: &BTreeSet<TaskId>,
    webhooks: &BTreeMap<TaskId, Webhook>,
    healed: Instant,
) -> Vec<Evidence> {
    let of = |(id, task): (&TaskId, &crate::verdict::history::Accepted)| {
        let counted_from = task.at.max(healed);
        let first = task.first.as_ref();
        let reported = webhooks.get(id).copied();
        let expected = if task.has_callback { Webhook::Lost } else { Webhook::None };
        Evidence {
            id: *id,
            expected: task.expected,
            first: first.map(|(end, at)| (end.clone(), at.saturating_duration_since(counted_from))),
            others: task.others.clone(),
            denied: task.denied,
            runs: runs.get(id).copied().unwrap_or_default(),
            is_dead: dead.contains(id),
            webhook: reported.unwrap_or(expected),
        }
    };
    observed.accepted.iter().map(of).collect()
}

fn seed() -> u64 {
    let fresh =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    match std::env::var("CHAOS_SEED") {
        Ok(seed) => seed.parse().expect("CHAOS_SEED is a number"),
        Err(_) => fresh(),
    }
}
