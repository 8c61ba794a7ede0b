//! An API and a worker, each a thread with a connection of its own, and as many jobs as the server takes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::ModelName;
use messaging::{Messaging, MessagingConfig, Role};
use serde::Serialize;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
};

use crate::{
    cores::thread_cpu_s,
    protocol,
    server::{Server, Used},
};

/// Jobs in the queue for each slot: enough that the worker never waits, and few enough that the queue flows.
const QUEUED_PER_SLOT: usize = 4;

/// How jobs are sent.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) url: String,
    /// Of a picture.
    pub(crate) bytes: usize,
    /// Uploads at a time.
    pub(crate) senders: usize,
    /// Jobs in the worker's hands at a time.
    pub(crate) slots: usize,
    /// Models without jobs that the worker serves besides.
    pub(crate) idle_models: usize,
    pub(crate) time: Duration,
}

/// The results of one round.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    /// The share of the time in which the server's core was busy with it.
    pub(crate) busy: f64,
    /// CPU microseconds of each job.
    pub(crate) nats_us: f64,
    pub(crate) api_us: f64,
    pub(crate) worker_us: f64,
    /// Messages of each job from clients to the server.
    pub(crate) messages_in: f64,
    /// Messages of each job from the server to clients.
    pub(crate) messages_out: f64,
}

/// What API and worker share.
struct Flow {
    stopping: AtomicBool,
    /// Permits of jobs that may still be sent.
    room: Semaphore,
    sent: AtomicUsize,
    settled: AtomicUsize,
    /// Notified when every job is settled and no other will be sent.
    over: Notify,
}

impl Load {
    /// Sends jobs until the time is over, and waits until all are settled.
    pub(crate) fn measure(&self, server: &Server) -> Measured {
        run(async {
            let setup = self.connect(Role::Setup).await;
            setup.provision(self.models()).await.expect("the streams can be created");
            setup.close().await;
        });
        let flow = Arc::new(Flow {
            stopping: AtomicBool::new(false),
            room: Semaphore::new(QUEUED_PER_SLOT * self.slots),
            sent: AtomicUsize::new(0),
            settled: AtomicUsize::new(0),
            over: Notify::new(),
        });
        let (before, started) = (server.used(), Instant::now());
        let (api_s, worker_s) = thread::scope(|scope| {
            let worker = scope.spawn(|| run(self.work(&flow)));
            let api = scope.spawn(|| run(self.send(&flow)));
            (api.join().unwrap(), worker.join().unwrap())
        });
        let (took, after) = (started.elapsed(), server.used());
        Measured::of(flow.settled.load(Ordering::SeqCst), took, (before, after), (api_s, worker_s))
    }

    /// The one that has jobs, and those that have none.
    fn models(&self) -> Vec<ModelName> {
        let idle = (0..self.idle_models).map(|number| format!("idle{number}").parse().unwrap());
        std::iter::once(ModelName::default()).chain(idle).collect()
    }

    async fn connect(&self, role: Role) -> Messaging {
        let config = MessagingConfig::new(self.url.parse().unwrap(), role);
        Messaging::connect(config).await.expect("the server answers")
    }

    /// The API. Returns the CPU seconds of its thread.
    async fn send(&self, flow: &Arc<Flow>) -> f64 {
        let messaging = self.connect(Role::Api).await;
        let queue = messaging.queue();
        let picture = Bytes::from(vec![0_u8; self.bytes]);
        let mut senders = JoinSet::new();
        for _ in 0..self.senders {
            let (flow, queue) = (Arc::clone(flow), queue.clone());
            let picture = picture.clone();
            senders.spawn(async move {
                loop {
                    flow.room.acquire().await.unwrap().forget();
                    if flow.stopping.load(Ordering::SeqCst) {
                        break;
                    }
                    flow.sent.fetch_add(1, Ordering::SeqCst);
                    protocol::submit(&queue, picture.clone()).await;
                }
            });
        }
        tokio::time::sleep(self.time).await;
        flow.stopping.store(true, Ordering::SeqCst);
        senders.join_all().await;
        flow.notify_if_over();
        messaging.close().await;
        thread_cpu_s()
    }

    /// The worker. Returns the CPU seconds of its thread.
    async fn work(&self, flow: &Arc<Flow>) -> f64 {
        let messaging = self.connect(Role::Worker).await;
        let tasks = messaging.tasks();
        let mut deliveries = messaging.queue().deliveries(self.models());
        let slots = Arc::new(Semaphore::new(self.slots));
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.unwrap();
            let delivery = tokio::select! {
                delivery = deliveries.next(1 + slots.available_permits()) => delivery,
                () = flow.over.notified() => break,
            };
            let (flow, tasks) = (Arc::clone(flow), tasks.clone());
            tokio::spawn(async move {
                protocol::process(&tasks, &delivery).await;
                // The next job may be pulled while this one is settled.
                drop(slot);
                protocol::settle(delivery).await;
                flow.settled.fetch_add(1, Ordering::SeqCst);
                flow.room.add_permits(1);
                flow.notify_if_over();
            });
        }
        deliveries.stop().await;
        messaging.close().await;
        thread_cpu_s()
    }
}

impl Flow {
    fn notify_if_over(&self) {
        if self.stopping.load(Ordering::SeqCst)
            && self.settled.load(Ordering::SeqCst) == self.sent.load(Ordering::SeqCst)
        {
            self.over.notify_one();
        }
    }
}

impl Measured {
    fn of(jobs: usize, took: Duration, (before, after): (Used, Used), clients: (f64, f64)) -> Self {
        let (jobs, took) = (jobs as f64, took.as_secs_f64());
        let cpu_s = after.cpu_s - before.cpu_s;
        Self {
            per_second: jobs / took,
            busy: cpu_s / took,
            nats_us: cpu_s * 1e6 / jobs,
            api_us: clients.0 * 1e6 / jobs,
            worker_us: clients.1 * 1e6 / jobs,
            messages_in: (after.messages_in - before.messages_in) / jobs,
            messages_out: (after.messages_out - before.messages_out) / jobs,
        }
    }

    /// The median of each value.
    pub(crate) fn medians(measured: &[Self]) -> Self {
        let median = |of: fn(&Self) -> f64| {
            let mut values: Vec<f64> = measured.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            per_second: median(|round| round.per_second),
            busy: median(|round| round.busy),
            nats_us: median(|round| round.nats_us),
            api_us: median(|round| round.api_us),
            worker_us: median(|round| round.worker_us),
            messages_in: median(|round| round.messages_in),
            messages_out: median(|round| round.messages_out),
        }
    }
}

/// Runs `work` on this thread alone, so that the thread's CPU time is that of the work.
fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}
