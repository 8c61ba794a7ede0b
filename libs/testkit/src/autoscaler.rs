//! Simulates autoscaling without a cluster: KEDA, the HPA and a Deployment, with real processes.
//!
//! [`Autoscaler`] reads a real nats-server's `/jsz` as KEDA does, decides as KEDA and the HPA do by the settings of a
//! ScaledObject, and starts and stops processes as a Deployment does. The decisions are pure code without a clock or a
//! process: [`Activation`] and [`Hpa`].
//!
//! Not simulated: a scheduler without capacity, the time to pull an image, a cluster of nats-servers, where KEDA asks
//! the consumer's leader.

mod activation;
mod deployment;
mod hpa;
mod lag;
mod manifest;
mod settings;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

use self::deployment::{Deployment, Start};
pub use self::{
    activation::Activation,
    deployment::{Ended, Replicas},
    hpa::{Hpa, proposal},
    lag::{NoLag, Queue},
    settings::{
        Change, Fallback, FallbackBehavior, Policy, ScaledObject, ScalingRules, SelectPolicy,
        Trigger,
    },
};
use crate::{NatsServer, Process, network::ports::get};

/// How often the queue and the processes are sampled.
const TICK: Duration = Duration::from_millis(100);

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Since the start.
    pub at: Duration,
    /// The state of the queue; `Err` if KEDA would have had no answer.
    pub queue: Result<Queue, NoLag>,
    /// The replicas.
    pub replicas: Replicas,
}

/// A running simulation. Stops its processes when dropped.
pub struct Autoscaler {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<Ended>>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    samples: Vec<Sample>,
    stop: bool,
}

/// All samples of a simulation.
#[derive(Debug)]
pub struct Recording {
    /// One for each tenth of a second.
    pub samples: Vec<Sample>,
    /// The processes that have exited.
    pub ended: Ended,
}

impl Autoscaler {
    /// Scales the processes that `start` starts by the backlog on `server`. `grace` is the time between SIGTERM and
    /// SIGKILL.
    ///
    /// # Panics
    /// If no thread can be started.
    #[must_use]
    pub fn start(
        server: &NatsServer,
        scaled: &ScaledObject,
        grace: Duration,
        start: impl FnMut() -> Process + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let round = Round {
            port: server.monitor_port(),
            scaled: scaled.clone(),
            keda: Activation::new(scaled),
            hpa: Hpa::new(scaled),
            deployment: Deployment::new(Box::new(start) as Start, grace),
            polled: None,
            synced: None,
        };
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("testkit-autoscaler".to_owned())
            .spawn(move || round.run(&of_thread))
            .expect("a thread can be started");
        Self { shared, thread: Some(thread) }
    }

    /// The next sample that `wanted` accepts, from now on. Blocks the thread.
    ///
    /// # Panics
    /// If `timeout` passes first; the message contains the last sample.
    pub fn wait_for(&self, wanted: impl Fn(&Sample) -> bool, timeout: Duration) -> Sample {
        let deadline = Instant::now() + timeout;
        let mut seen = self.shared.seen.lock();
        let mut next = seen.samples.len();
        loop {
            if let Some(sample) = seen.samples[next..].iter().find(|sample| wanted(sample)) {
                return *sample;
            }
            next = seen.samples.len();
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not within {timeout:?}; last: {:?}", seen.samples.last());
            self.shared.changed.wait_for(&mut seen, left);
        }
    }

    /// Stops all processes and returns the samples.
    ///
    /// # Panics
    /// If the simulation has panicked.
    #[must_use]
    pub fn end(mut self) -> Recording {
        let ended = self.stop().expect("it is ended once").expect("the simulation did not fail");
        let samples = std::mem::take(&mut self.shared.seen.lock().samples);
        Recording { samples, ended }
    }

    fn stop(&mut self) -> Option<thread::Result<Ended>> {
        self.shared.seen.lock().stop = true;
        self.shared.changed.notify_all();
        self.thread.take().map(thread::JoinHandle::join)
    }
}

impl Drop for Autoscaler {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// The state of the simulation's thread.
struct Round {
    port: u16,
    scaled: ScaledObject,
    keda: Activation,
    hpa: Hpa,
    deployment: Deployment,
    /// When KEDA last polled, and the HPA last synced.
    polled: Option<Duration>,
    synced: Option<Duration>,
}

impl Round {
    fn run(mut self, shared: &Shared) -> Ended {
        let started = Instant::now();
        loop {
            let sample = self.step(started.elapsed());
            let mut seen = shared.seen.lock();
            seen.samples.push(sample);
            shared.changed.notify_all();
            shared.changed.wait_while_for(&mut seen, |seen| !seen.stop, TICK);
            if seen.stop {
                break;
            }
        }
        self.deployment.end()
    }

    fn step(&mut self, now: Duration) -> Sample {
        let answer = get(self.port, &lag::path(&self.scaled.trigger));
        let queue = Queue::read(answer.as_ref(), &self.scaled.trigger);
        let lag = queue.map(Queue::lag);
        self.deployment.tend();
        if is_due(&mut self.polled, now, self.scaled.polling_interval) {
            let current = self.deployment.replicas().wanted;
            self.deployment.scale_to(self.keda.decide(now, current, lag));
        }
        if is_due(&mut self.synced, now, self.scaled.sync_period)
            && let current = self.deployment.replicas().wanted
            && let Some(lag) = self.keda.lag_for_the_hpa(current, lag)
        {
            self.deployment.scale_to(self.hpa.decide(now, current, lag));
        }
        Sample { at: now, queue, replicas: self.deployment.replicas() }
    }
}

/// Whether `period` has passed since `last`, which is set to now if it has.
fn is_due(last: &mut Option<Duration>, now: Duration, period: Duration) -> bool {
    let due = last.is_none_or(|last| last + period <= now);
    if due {
        *last = Some(now);
    }
    due
}

impl Recording {
    /// The samples as columns, for a plot. The queue's values are null where there was no answer.
    #[must_use]
    pub fn json(&self) -> Value {
        let queue = |of: fn(Queue) -> u64| -> Vec<Option<u64>> {
            self.samples.iter().map(|sample| sample.queue.ok().map(of)).collect()
        };
        let replicas = |of: fn(Replicas) -> u32| -> Vec<u32> {
            self.samples.iter().map(|sample| of(sample.replicas)).collect()
        };
        json!({
            "seconds": self.samples.iter().map(|s| s.at.as_secs_f64()).collect::<Vec<_>>(),
            "waiting": queue(|queue| queue.waiting),
            "in_progress": queue(|queue| queue.in_progress),
            "published": queue(|queue| queue.published),
            "drained": queue(|queue| queue.drained),
            "wanted": replicas(|replicas| replicas.wanted),
            "ready": replicas(|replicas| replicas.ready),
            "leaving": replicas(|replicas| replicas.leaving),
        })
    }
}
