//! Jobs that go through the queue for a while.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::ModelName;
use messaging::{Delivery, Messaging, MessagingConfig, Role};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{protocol, servers::Servers};

/// Jobs on their way to the queue at a time, as from so many uploads.
const SENDERS: usize = 16;

/// Jobs in the queue and in hands at a time. Few, so that what is measured is a queue that flows.
const WINDOW: usize = 32;

/// Jobs in hands at a time.
const HANDS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    /// Of the picture.
    pub(crate) bytes: usize,
    pub(crate) way: Way,
    pub(crate) records: Records,
}

/// How the picture travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// In the job's message.
    Inline,
    /// In the object store.
    Object,
}

/// Whether the three records of a task are written, too: queued, begun, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Records {
    With,
    Without,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    /// From the beginning of a submission to "stored".
    pub(crate) stored_p50_ms: f64,
    pub(crate) stored_p99_ms: f64,
    /// CPU time of all servers for each job.
    pub(crate) cpu_ms: f64,
    /// What all servers together have handed to their disks for each job.
    pub(crate) written_kib: f64,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inline => "message",
            Self::Object => "object",
        }
    }
}

struct Flow {
    messaging: Messaging,
    picture: Bytes,
    records: Records,
    window: Arc<Semaphore>,
    settled: AtomicU64,
    stopping: AtomicBool,
    stored_ms: Mutex<Vec<f64>>,
}

/// Sends jobs through for a while and waits until the last is settled.
pub(crate) async fn measure(servers: &Servers, case: Case, during: Duration) -> Measured {
    let flow = Arc::new(Flow::new(servers, case).await);
    let before = servers.used();
    let started = Instant::now();
    let taking = tokio::spawn(Arc::clone(&flow).take_all());
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        senders.spawn(Arc::clone(&flow).send());
    }
    tokio::time::sleep(during).await;
    flow.stopping.store(true, Ordering::Relaxed);
    senders.join_all().await;
    let all = u32::try_from(WINDOW).unwrap();
    let _empty = flow.window.acquire_many(all).await.unwrap();
    let took = started.elapsed().as_secs_f64();
    taking.abort();
    let after = servers.used();
    flow.messaging.clone().close().await;
    let jobs = flow.settled.load(Ordering::Relaxed) as f64;
    let mut stored_ms = std::mem::take(&mut *flow.stored_ms.lock().unwrap());
    stored_ms.sort_by(f64::total_cmp);
    Measured {
        per_second: jobs / took,
        stored_p99_ms: stored_ms.get(stored_ms.len() * 99 / 100).copied().unwrap_or(f64::NAN),
        stored_p50_ms: median(stored_ms),
        cpu_ms: (after.cpu_ms - before.cpu_ms) / jobs,
        written_kib: (after.written_bytes - before.written_bytes) / 1024.0 / jobs,
    }
}

impl Flow {
    async fn new(servers: &Servers, case: Case) -> Self {
        let inline_limit = match case.way {
            Way::Inline => usize::MAX,
            Way::Object => 1,
        };
        let config = MessagingConfig {
            replicas: servers.nodes().len(),
            inline_limit,
            request_timeout: Duration::from_secs(30),
            ..MessagingConfig::new(servers.url().parse().unwrap(), Role::Cli)
        };
        let messaging = Messaging::connect(config).await.expect("the server answers");
        messaging.provision([ModelName::default()]).await.expect("the streams can be made");
        Self {
            messaging,
            picture: noise(case.bytes),
            records: case.records,
            window: Arc::new(Semaphore::new(WINDOW)),
            settled: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            stored_ms: Mutex::default(),
        }
    }

    async fn send(self: Arc<Self>) {
        let queue = self.messaging.queue();
        while !self.stopping.load(Ordering::Relaxed) {
            Arc::clone(&self.window).acquire_owned().await.unwrap().forget();
            let started = Instant::now();
            protocol::submit(&queue, self.picture.clone()).await;
            let took = started.elapsed().as_secs_f64() * 1e3;
            self.stored_ms.lock().unwrap().push(took);
        }
    }

    async fn take_all(self: Arc<Self>) {
        let hands = Arc::new(Semaphore::new(HANDS));
        let mut deliveries = self.messaging.queue().deliveries([ModelName::default()]);
        loop {
            let hand = Arc::clone(&hands).acquire_owned().await.unwrap();
            let delivery = deliveries.next(1 + hands.available_permits()).await;
            let flow = Arc::clone(&self);
            tokio::spawn(async move {
                flow.deal_with(delivery).await;
                drop(hand);
            });
        }
    }

    async fn deal_with(&self, delivery: Delivery) {
        match self.records {
            Records::With => protocol::process(&self.messaging.tasks(), &delivery).await,
            Records::Without => drop(delivery.picture().await.expect("the picture is there")),
        }
        protocol::settle(delivery).await;
        self.settled.fetch_add(1, Ordering::Relaxed);
        self.window.add_permits(1);
    }
}

/// Bytes that no compression makes fewer.
fn noise(length: usize) -> Bytes {
    let mut bytes = vec![0_u8; length];
    rand::fill(&mut bytes[..]);
    bytes.into()
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
