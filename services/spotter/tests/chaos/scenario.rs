//! One scenario, from its start to its verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use domain::TaskId;
use messaging::QueueDepth;
use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};

use crate::{
    environment::{Environment, Plan},
    faults::{ActiveFault, Fault, FaultContext},
    final_reads::{FinalReads, connect},
    load::{Load, LoadPlan},
    verdict::batches::BatchEvidence,
    verdict::checker::{Bounds, Case, Evidence, Leftover, Violation, check},
    verdict::history::{CALM, Observed},
    verdict::report::Report,
    verdict::webhook::{FoundWebhooks, Webhook},
};

/// How often processes that exited by themselves are looked for.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// The time without faults at the beginning of every scenario, as a baseline.
const FIRST_CALM: Duration = Duration::from_secs(2);

/// How long the APIs may take to find no discrepancy between queue and records.
const RECONCILED_WITHIN: Duration = Duration::from_secs(20);

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
        self.tell(&faults.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(" and "));
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
        self.tell("healed");
    }

    /// Prints what happens when, for a violation: a task's id begins with its milliseconds.
    fn tell(&self, what: &str) {
        eprintln!("{:012x} ms: {what}", millis_now());
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
        // The processes show their last lines if this panics while they are there.
        let (report, violations, _environment) = self.examine(bounds);
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
    pub(crate) fn judge(self, bounds: Bounds) -> (Report, Vec<Violation>) {
        let (report, violations, _) = self.examine(bounds);
        (report, violations)
    }

    fn examine(mut self, bounds: Bounds) -> (Report, Vec<Violation>, Environment) {
        self.load.stop();
        let healed = Instant::now();
        // What ends after the bound is reported as late rather than as lost.
        let (leftover, drained) = self.drain(healed, bounds.batch_within() * 5 / 4);
        let Self { environment, load, name, .. } = &self;
        let reads = FinalReads { environment, load, name };
        let runs = reads.gather();
        let dead = reads.dead_letters();
        let webhooks = reads.webhooks();
        let discrepancies = self.discrepancies();
        let Self { environment, load, name, seed, injections, resets, .. } = self;
        let observed = load.end().into_observed();
        // A server that loses its counts redelivers a job; nothing else adds runs.
        let bounds = Bounds { runs: bounds.runs.saturating_mul(1 + resets), ..bounds };
        let tasks = evidence(&observed, &runs, &dead, &webhooks, healed);
        let case = Case {
            tasks: &tasks,
            batches: &batch_evidence(&observed, &webhooks, healed),
            keys: &observed.keys,
            leftover,
            discrepancies,
            unexpected: &observed.unexpected,
            leaks: &observed.leaks,
        };
        let violations = check(&case, bounds);
        let report = Report::new(&observed, &runs, &webhooks, &injections, drained);
        eprintln!("{name}, CHAOS_SEED={seed}\n{report}");
        print_logs_about(&violations, &environment);
        (report, violations, environment)
    }

    /// Waits until the queue is empty, every task has been observed to be terminal, and every batch has ended.
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
            let open = self.load.history.open() + self.load.open_batches();
            let done = leftover == Leftover::default() && open == 0;
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
        let http = self.environment.http_without_key();
        let ask = |metric| self.load.runtime.block_on(sum_of(&http, &bases, metric));
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
}

/// The sum of a metric over its labels and all APIs; `None` if one does not answer.
async fn sum_of(http: &reqwest::Client, bases: &[String], metric: &str) -> Option<u64> {
    let mut sum = 0;
    for base in bases {
        let answer = http.get(format!("{base}/metrics")).send().await.ok()?;
        let text = answer.text().await.ok()?;
        let values = text.lines().filter(|line| line.starts_with(metric));
        let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        sum += values.sum::<u64>();
    }
    Some(sum)
}

fn evidence(
    observed: &Observed,
    runs: &BTreeMap<TaskId, u32>,
    dead: &BTreeSet<TaskId>,
    webhooks: &FoundWebhooks,
    healed: Instant,
) -> Vec<Evidence> {
    let of = |(id, task): (&TaskId, &crate::verdict::history::Accepted)| {
        let counted_from = task.at.max(healed);
        let first = task.first.as_ref();
        let reported = webhooks.tasks.get(id).copied();
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

fn batch_evidence(
    observed: &Observed,
    webhooks: &FoundWebhooks,
    healed: Instant,
) -> Vec<BatchEvidence> {
    let batches = observed.batches.iter();
    batches
        .map(|(id, batch)| batch.evidence(*id, healed, |end| webhooks.of_batch(*id, end)))
        .collect()
}

/// Prints what the processes have logged about the tasks of the violations.
fn print_logs_about(violations: &[Violation], environment: &Environment) {
    let tasks: BTreeSet<TaskId> = violations.iter().filter_map(Violation::task).collect();
    if tasks.is_empty() {
        return;
    }
    let lines = environment.lines();
    for id in tasks.into_iter().take(SHOWN) {
        let text = id.to_string();
        eprintln!("logged about {id}, after the number of the process:");
        lines.iter().filter(|line| line.contains(&text)).for_each(|line| eprintln!("{line}"));
    }
}

fn seed() -> u64 {
    match std::env::var("CHAOS_SEED") {
        Ok(seed) => seed.parse().expect("CHAOS_SEED is a number"),
        Err(_) => millis_now(),
    }
}

fn millis_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}
