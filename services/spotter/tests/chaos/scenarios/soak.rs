//! Tens of thousands of tiny jobs, as fast as the queue takes them: memory and throughput stay flat.
//!
//! `CHAOS_SOAK_JOBS` sets their number; by default a few hundred, which check only that every task becomes terminal.
//! Throughput is printed and not checked: it depends on what else the machine does.

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
    environment::{Environment, Plan, TIMEOUT},
    load::pictures::strip,
    load::{
        client::Client,
        submission::{Expected, Submission},
    },
    nats::Nats,
    verdict::history::History,
};

const NATS: &str = "nats-server";

const SHORT: usize = 600;
/// From this many jobs on, memory is checked: at half of them, each of the two APIs remembers as many jobs as it ever
/// does (10,000).
const LONG: usize = 50_000;
const CLIENTS: usize = 8;
/// The maximum number of waiting jobs, and the number of jobs sent beyond those that are counted: the last counted
/// ones must run beside submissions as the first did.
const BACKLOG: usize = 1000;
/// The pause before a refused submission is retried.
const PAUSE: Duration = Duration::from_millis(50);
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// The allowed change of memory after the warm-up.
const FLAT: f64 = 0.1;

/// Resident memory of one process, in MiB, sample by sample.
type Samples = Vec<f64>;

#[test]
fn tiny_jobs_without_end() {
    let jobs = std::env::var("CHAOS_SOAK_JOBS").ok();
    let jobs: usize = jobs.map_or(SHORT, |text| text.parse().expect("CHAOS_SOAK_JOBS is a number"));
    let settings = vec![("QUEUE_MAX_MESSAGES", BACKLOG.to_string())];
    let mut environment = Environment::start(Plan { workers: 2, settings, ..Plan::default() });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let sending = Arc::new(Sending {
        client: Client::new(&environment, Arc::new(History::new())),
        left: AtomicUsize::new(jobs + BACKLOG),
    });
    let sampler = Sampler::start(&mut environment);
    let accepted = runtime.block_on(send_all(&sending));
    let memory = sampler.end();
    let finished = runtime.block_on(finish_times(&environment, &accepted));
    let report = Report::new(jobs, finished, memory);
    eprintln!("{report}");
    assert_eq!(accepted.len(), jobs + BACKLOG, "each is accepted once");
    if jobs >= LONG {
        for (process, samples) in &report.memory {
            let [.., before, _, _, _, after] = tenths(samples);
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
    /// Submits one picture after another, and polls an earlier task with each.
    async fn send_until_none_is_left(self: Arc<Self>, seed: u64) -> Vec<TaskId> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let submission = Submission::new(strip(), Expected::Success);
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
                self.client.poll_once(accepted[earlier], &mut rng).await;
            }
            accepted.push(id);
        }
        accepted
    }
}

/// The finish times in order; waits for the last task.
async fn finish_times(environment: &Environment, ids: &[TaskId]) -> Vec<OffsetDateTime> {
    let config = MessagingConfig::new(environment.nats.url().parse().unwrap(), Role::Cli);
    let tasks = Messaging::connect(config).await.expect("NATS answers").tasks();
    let end = async |id: &TaskId| {
        let record =
            tasks.await_terminal(*id, tokio::time::sleep(TIMEOUT)).await.expect("NATS answers");
        match record.map(|record| record.state) {
            Some(TaskState::Success { finished_at, .. }) => finished_at,
            other => panic!("{id} is {other:?}"),
        }
    };
    let mut ends: Vec<_> = stream::iter(ids).map(end).buffer_unordered(16).collect().await;
    ends.sort_unstable();
    ends
}

/// Samples the memory of every process.
struct Sampler {
    thread: thread::JoinHandle<BTreeMap<String, Samples>>,
    stop: Arc<AtomicBool>,
}

impl Sampler {
    fn start(environment: &mut Environment) -> Self {
        let parts = [("API", &environment.apis), ("worker", &environment.workers)];
        let mut processes: Vec<(String, u32)> = Vec::new();
        for (name, kept) in parts {
            let numbered = kept.iter().enumerate();
            processes
                .extend(numbered.map(|(i, kept)| (format!("{name} {}", i + 1), kept.process.id())));
        }
        if let Nats::One(server) = &mut environment.nats {
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

/// A process's resident memory in MiB.
fn resident(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<f64>().ok());
    kib.expect("the process runs") / 1024.0
}

/// The median of each tenth.
fn tenths(samples: &[f64]) -> [f64; 10] {
    std::array::from_fn(|n| {
        let from = n * samples.len() / 10;
        let to = (n + 1) * samples.len() / 10;
        median(&samples[from..to.max(from + 1)])
    })
}

fn median(samples: &[f64]) -> f64 {
    let mut samples = samples.to_vec();
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

struct Report {
    jobs: usize,
    /// Jobs per second in each tenth.
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
        writeln!(f, "resident memory in MiB in each tenth:")?;
        for (process, samples) in &self.memory {
            write!(f, "{process:<12}")?;
            for median in tenths(samples) {
                write!(f, " {median:>6.1}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
