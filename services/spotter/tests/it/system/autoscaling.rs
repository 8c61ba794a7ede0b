//! Workers are scaled with the backlog as by KEDA and the HPA, and nothing is lost.
//!
//! Queue, API, workers, model and signals are real; `testkit::Autoscaler` decides by the ScaledObject in k8s/. Its time
//! is compressed, the workers' is not. With `AUTOSCALING_JSON=file` the run is longer and its time series is written
//! there, for `scripts/plots/plot-autoscaling`.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use client::State;
use domain::TaskId;
use serde_json::{Value, json};
use testkit::{
    Autoscaler, Line, Process, Recording, Replicas, Sample, ScaledObject, picture, proposal,
    workspace_root,
};

use crate::harness::{System, TIMEOUT, spotter};

/// A second stands for a minute.
const COMPRESSION: u32 = 60;

/// The maximum number of workers for two cores.
const MOST: u32 = 4;

/// The jobs in flight of a worker with one slot: one that runs, one that is being decoded.
const HELD: u64 = 2;

/// The workers' grace period, the shortest that can be set: too short for a slow job.
const SHUTDOWN_GRACE_SECONDS: &str = "1";

/// The time after which a Deployment kills a worker.
const GRACE: Duration = Duration::from_secs(30);

/// The ScaledObject of the project.
const MANIFEST: &str = "k8s/base/worker-scaling.yaml";

/// The comment of a picture that takes longer than the grace period; see `service::lifecycle::failpoints`.
const LINGERING: &str = "this picture takes its time";

/// The length of the test.
struct Plan {
    /// The backlog of the burst, in multiples of what all workers are scaled for.
    burst: u64,
    /// The number of pictures that are sent one after another, at least a tenth of a second apart.
    trickle: usize,
    json: Option<PathBuf>,
}

impl Plan {
    fn new() -> Self {
        match std::env::var_os("AUTOSCALING_JSON") {
            None => Self { burst: 2, trickle: 0, json: None },
            Some(file) => Self { burst: 10, trickle: 150, json: Some(file.into()) },
        }
    }
}

#[tokio::test]
async fn replicas_follow_the_backlog_and_nothing_is_lost() {
    let plan = Plan::new();
    let mut run = Run::start();
    let all = u64::from(MOST);
    let for_all = all * run.scaled.trigger.lag_threshold;

    run.phase("burst");
    run.send_until(for_all * plan.burst, Kind::Quick, |_| true).await;
    // All workers must be ready before fewer are wanted, or workers without jobs are stopped.
    run.send_until(for_all * 3 / 2, Kind::Quick, |now| now.replicas.ready == MOST).await;
    assert_eq!(run.latest().replicas.wanted, MOST);

    run.phase("trickle");
    // A lag for one worker that still keeps every worker busy.
    let threshold = run.scaled.trigger.lag_threshold;
    let (fewer, kept) = (1, all * HELD);
    assert_eq!(proposal(MOST, kept, threshold), fewer, "{:?}", run.scaled);
    // Before that, the jobs in flight must be slow: on a slow machine, stopped workers finished the last quick ones
    // in time.
    let quick = run.accepted.len() as u64;
    let more = threshold + HELD;
    assert!(proposal(MOST, more, threshold) > fewer, "{:?}", run.scaled);
    let is_drained = |now: &Sample| now.queue.is_ok_and(|queue| queue.drained >= quick);
    run.send_until(more, Kind::Slow, is_drained).await;
    run.send_until(kept, Kind::Slow, |now| now.replicas.wanted <= fewer).await;
    for _ in 0..plan.trickle {
        run.send(Kind::Quick).await;
        run.autoscaler.wait_for(|_| true, TIMEOUT);
    }

    run.phase("silence");
    let none = run.autoscaler.wait_for(|now| now.replicas == Replicas::default(), TIMEOUT);
    let queue = none.queue.expect("the server answers");
    let accepted = run.accepted.len() as u64;
    assert_eq!((queue.lag(), queue.published, queue.drained), (0, accepted, accepted));

    run.phase("one more");
    let sent = Instant::now();
    let last = run.send(Kind::Quick).await;
    run.system.terminal(last).await;
    eprintln!("from zero replicas to a result: {:.1?}", sent.elapsed());
    run.end(&plan).await;
}

/// A picture to send.
#[derive(Clone, Copy)]
enum Kind {
    Quick,
    /// Takes longer than the grace period.
    Slow,
}

struct Run {
    system: System,
    scaled: ScaledObject,
    autoscaler: Autoscaler,
    started: Instant,
    phases: Vec<(&'static str, f64)>,
    accepted: Vec<TaskId>,
    quick: Vec<u8>,
    slow: Vec<u8>,
}

impl Run {
    fn start() -> Self {
        let system = System::start();
        let shipped = shipped();
        let scaled = ScaledObject {
            max_replicas: shipped.max_replicas.min(MOST),
            ..shipped.compressed(COMPRESSION)
        };
        let quick = fs::read(picture("bus.jpg")).unwrap();
        let url = system.nats.url();
        let worker = move || worker(&url);
        let autoscaler = Autoscaler::start(&system.nats, &scaled, GRACE, worker);
        Self {
            system,
            scaled,
            autoscaler,
            started: Instant::now(),
            phases: Vec::new(),
            accepted: Vec::new(),
            slow: with_comment(&quick, LINGERING),
            quick,
        }
    }

    fn phase(&mut self, name: &'static str) {
        self.phases.push((name, self.started.elapsed().as_secs_f64()));
    }

    fn latest(&self) -> Sample {
        self.autoscaler.wait_for(|_| true, TIMEOUT)
    }

    async fn send(&mut self, kind: Kind) -> TaskId {
        let (name, bytes) = match kind {
            Kind::Quick => ("bus.jpg", self.quick.clone()),
            Kind::Slow => ("slow.jpg", self.slow.clone()),
        };
        let id = self.system.start_task(name, bytes).await;
        self.accepted.push(id);
        id
    }

    /// Keeps the backlog at `lag` until `enough` accepts a sample.
    async fn send_until(&mut self, lag: u64, kind: Kind, enough: impl Fn(&Sample) -> bool) {
        let started = Instant::now();
        loop {
            let now = self.latest();
            let missing = lag.saturating_sub(now.queue.map_or(lag, |queue| queue.lag()));
            for _ in 0..missing {
                self.send(kind).await;
            }
            if enough(&now) {
                return;
            }
            assert!(started.elapsed() < TIMEOUT, "{now:?}");
        }
    }

    /// Checks the results of all pictures, and the recording.
    async fn end(self, plan: &Plan) {
        for id in &self.accepted {
            let task = self.system.task(*id).await;
            assert_eq!(task.state, State::Success, "{task:?}");
        }
        let left = |stream: &str| self.system.nats.stream(stream).map(|stream| stream.messages);
        assert_eq!((left("JOBS"), left("DLQ")), (Some(0), Some(0)));
        let recording = self.autoscaler.end();
        let Recording { samples, ended } = &recording;
        assert!(ended.crashed.is_empty() && ended.killed.is_empty(), "{ended:?}");
        let most = samples.iter().map(|sample| sample.replicas.wanted).max();
        assert_eq!(most, Some(MOST));
        // The purpose of the test: workers were stopped in the middle of jobs.
        let released: usize = ended.stopped.iter().map(released).sum();
        let accepted = self.accepted.len();
        #[allow(clippy::print_stderr, reason = "a test's report goes to standard error")]
        {
            eprintln!("{accepted} pictures, {released} released by workers that were stopped");
        }
        assert!(released > 0, "no worker was stopped in the middle of a job");
        if let Some(file) = &plan.json {
            let mut json = recording.json();
            json["phases"] = json!(self.phases);
            json["settings"] = settings(&self.scaled);
            json["released"] = json!(released);
            fs::write(file, json.to_string()).unwrap();
        }
    }
}

fn worker(url: &str) -> Process {
    spotter(["worker"])
        .env("NATS_URL", url)
        .env("CONCURRENCY", "1")
        .env("THREADS_PER_PICTURE", "1")
        .env("SHUTDOWN_GRACE_SECONDS", SHUTDOWN_GRACE_SECONDS)
        .env("FAILPOINTS", format!("worker-detect=linger({LINGERING})"))
        .env("LOG_FORMAT", "json")
        .start()
}

/// The same picture with a comment segment.
fn with_comment(jpeg: &[u8], comment: &str) -> Vec<u8> {
    let (start_of_image, rest) = jpeg.split_at(2);
    let length = u16::try_from(comment.len() + 2).unwrap().to_be_bytes();
    [start_of_image, &[0xff, 0xfe], &length, comment.as_bytes(), rest].concat()
}

/// The number of jobs that a worker released.
fn released(worker: &Process) -> usize {
    let lines = worker.finished_lines();
    let of = |line: &Line| line.json().map(|json| json["outcome"].clone());
    lines.iter().filter(|line| of(line) == Some(Value::from("Released"))).count()
}

/// The ScaledObject of the project, for a server without accounts.
fn shipped() -> ScaledObject {
    let file = workspace_root().join(MANIFEST);
    let mut scaled = ScaledObject::read(&file).expect("what ships can be read");
    "$G".clone_into(&mut scaled.trigger.account);
    scaled
}

/// The settings that the plot shows.
fn settings(scaled: &ScaledObject) -> Value {
    json!({
        "compression": COMPRESSION,
        "lag_threshold": scaled.trigger.lag_threshold,
        "min_replicas": scaled.min_replicas,
        "max_replicas": scaled.max_replicas,
        "polling_interval": scaled.polling_interval.as_secs_f64(),
        "sync_period": scaled.sync_period.as_secs_f64(),
        "stabilization_window": scaled.scale_down.stabilization_window.as_secs_f64(),
        "cooldown_period": scaled.cooldown_period.as_secs_f64(),
    })
}
