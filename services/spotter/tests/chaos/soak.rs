//! Tens of thousands of tiny jobs, as fast as the queue takes them: memory stays flat, speed too.
//!
//! `CHAOS_SOAK_JOBS` says how many; without it a few hundred, which tells only that each comes to its
//! end. Speed is printed and not judged: this machine may have other things to do.

use std::{
    collections::BTreeMap,
    fmt, fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use domain::{TaskId, TaskState};
use futures_util::{StreamExt, stream};
use messaging::{Messaging, MessagingConfig, Role};
use rand::{SeedableRng, rngs::Xoshiro256PlusPlus};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::{
    client::{Client, Submission},
    history::{History, Hope},
    pictures::strip,
    stand::{Nats, PATIENCE, Plan, Stand},
};

const NATS: &str = "nats-server";

const SHORT: usize = 600;
/// From so many jobs on, memory is judged: a tenth of them is enough to warm up.
const LONG: usize = 10_000;
const CLIENTS: usize = 8;
/// How many jobs wait at most, and so how many are sent beyond those that are counted: the last of
/// these must run beside submissions as the first did.
const BACKLOG: usize = 1000;
/// The pause of a client that was refused.
const PAUSE: Duration = Duration::from_millis(50);
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// How far memory may be from where it was after the warm-up.
const FLAT: f64 = 0.1;

/// Resident memory of one process, in MiB, sample by sample.
type Samples = Vec<f64>;

#[test]
fn tiny_jobs_without_end() {
    let jobs = std::env::var("CHAOS_SOAK_JOBS").ok();
    let jobs: usize = jobs.map_or(SHORT, |text| text.parse().expect("CHAOS_SOAK_JOBS is a number"));
    let settings = vec![("QUEUE_MAX_MESSAGES", BACKLOG.to_string())];
    let mut stand = Stand::start(Plan { workers: 2, settings, ..Plan::default() });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let sending = Arc::new(Sending {
        client: Client::new(stand.bases(), Arc::new(History::new())),
        left: AtomicUsize::new(jobs + BACKLOG),
    });
    let sampler = Sampler::start(&mut stand);
    let accepted = runtime.block_on(send_all(&sending));
    let memory = sampler.end();
    let finished = runtime.block_on(ends(&stand, &accepted));
    let report = Report::new(jobs, finished, memory);
    eprintln!("{report}");
    assert_eq!(accepted.len(), jobs + BACKLOG, "each is accepted once");
    if jobs >= LONG {
        for (process, samples) in &report.memory {
            let (before, after) = (warm(samples), last(samples));
            let flat = (after / before - 1.0).abs() <= FLAT;
            assert!(flat || process == NATS, "{process}: {before:.1} → {after:.1} MiB");
        }
    }
}

struct Sending {
    client: Client,
    left: AtomicUsize,
}

async fn send_all(sending: &Arc<Sending>) -> Vec<TaskId> {
    let mut clients = JoinSet::new();
    for seed in 0..CLIENTS {
        clients.spawn(Arc::clone(sending).send_until_none_is_left(seed as u64));
    }
    clients.join_all().await.concat()
}

impl Sending {
    /// Sends one after another, and asks for the end of an earlier one with each.
    async fn send_until_none_is_left(self: Arc<Self>, seed: u64) -> Vec<TaskId> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let submission = Submission::new(strip(), Hope::Success);
        let mut accepted: Vec<TaskId> = Vec::new();
        let take =
            || self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        while take().is_ok() {
            let id = loop {
                match self.client.submit(&submission, &mut rng).await {
                    Some(task) => break task.id,
                    None => tokio::time::sleep(PAUSE).await,
                }
            };
            if let Some(earlier) = accepted.len().checked_sub(BACKLOG / CLIENTS) {
                self.client.ask_once(accepted[earlier], &mut rng).await;
            }
            accepted.push(id);
        }
        accepted
    }
}

/// When each task ended, in order; waits for the last.
async fn ends(stand: &Stand, ids: &[TaskId]) -> Vec<OffsetDateTime> {
    let config = MessagingConfig::new(stand.nats.url().parse().unwrap(), Role::Cli);
    let tasks = Messaging::connect(config).await.expect("NATS answers").tasks();
    let end = async |id: &TaskId| {
        let record =
            tasks.await_terminal(*id, tokio::time::sleep(PATIENCE)).await.expect("NATS answers");
        match record.map(|record| record.state) {
            Some(TaskState::Success { finished_at, .. }) => finished_at,
            other => panic!("{id} came to {other:?}"),
        }
    };
    let mut ends: Vec<_> = stream::iter(ids).map(end).buffer_unordered(16).collect().await;
    ends.sort_unstable();
    ends
}

/// Looks at the memory of every process again and again.
struct Sampler {
    thread: thread::JoinHandle<BTreeMap<String, Samples>>,
    stop: Arc<AtomicBool>,
}

impl Sampler {
    fn start(stand: &mut Stand) -> Self {
        let parts = [("API", &stand.apis), ("worker", &stand.workers)];
        let mut processes: Vec<(String, u32)> = Vec::new();
        for (name, kept) in parts {
            let numbered = kept.iter().enumerate();
            processes
                .extend(numbered.map(|(i, kept)| (format!("{name} {}", i + 1), kept.process.id())));
        }
        if let Nats::One(server) = &mut stand.nats {
            processes.push((NATS.to_owned(), server.process().id()));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut memory: BTreeMap<String, Samples> = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                for (name, process) in &processes {
                    memory.entry(name.clone()).or_default().push(resident(*process));
                }
                thread::sleep(SAMPLE_EVERY);
            }
            memory
        });
        Self { thread, stop }
    }

    fn end(self) -> BTreeMap<String, Samples> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sampler does not panic")
    }
}

/// In MiB.
fn resident(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<f64>().ok());
    kib.expect("the process runs") / 1024.0
}

/// The median of the second tenth.
fn warm(samples: &[f64]) -> f64 {
    median(&samples[samples.len() / 10..=samples.len() / 5])
}

/// The median of the last tenth.
fn last(samples: &[f64]) -> f64 {
    median(&samples[samples.len() * 9 / 10..])
}

fn median(samples: &[f64]) -> f64 {
    let mut samples = samples.to_vec();
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

struct Report {
    jobs: usize,
    /// Jobs a second in each tenth.
    speeds: Vec<f64>,
    memory: BTreeMap<String, Samples>,
}

impl Report {
    fn new(jobs: usize, ends: Vec<OffsetDateTime>, memory: BTreeMap<String, Samples>) -> Self {
        let tenth = jobs / 10;
        let speed = |n: usize| {
            let took = ends[(n + 1) * tenth - 1] - ends[n * tenth];
            tenth as f64 / took.as_seconds_f64()
        };
        Self { jobs, speeds: (0..10).map(speed).collect(), memory }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} tiny jobs; jobs a second in each tenth:", self.jobs)?;
        for speed in &self.speeds {
            write!(f, " {speed:.1}")?;
        }
        write!(f, "\nlast tenth ÷ first: {:.3}", self.speeds[9] / self.speeds[0])?;
        writeln!(f, ", ÷ second: {:.3}", self.speeds[9] / self.speeds[1])?;
        writeln!(f, "resident memory in MiB, after a tenth and at the end:")?;
        for (process, samples) in &self.memory {
            let (before, after) = (warm(samples), last(samples));
            writeln!(
                f,
                "{process:<12} {before:>7.1} {after:>7.1}  {:+.1} %",
                (after / before - 1.0) * 100.0
            )?;
        }
        Ok(())
    }
}
