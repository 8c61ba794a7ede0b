//! A server, a connection to it that is set up, and jobs to send.

use std::{cell::Cell, sync::LazyLock, time::Duration};

use async_nats::{Subscriber, jetstream};
use bytes::Bytes;
use domain::{
    ClassId, DetectedObject, Detection, DetectionSettings, FailureReason, Job, ModelName, Priority,
    TaskId, TaskRecord, TaskState,
};
use messaging::{
    BeginOutcome, Deliveries, Delivery, Messaging, MessagingConfig, Role, RunStart, Submission,
    TaskStore,
};
use testkit::{NatsServer, eventually};
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};

/// Longer than anything here takes on a busy machine; only a failing test waits this long.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Longer than that: what would come only after it does not come.
pub(crate) const NEVER: Duration = Duration::from_secs(600);

/// How long to watch for something that must not happen.
pub(crate) const A_WHILE: Duration = Duration::from_millis(500);

pub(crate) struct Fixture {
    pub(crate) server: NatsServer,
    pub(crate) messaging: Messaging,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::with(NatsServer::start(), |_| {}).await
    }

    /// A fixture whose configuration was changed by `change`.
    pub(crate) async fn configured(change: impl FnOnce(&mut MessagingConfig)) -> Self {
        Self::with(NatsServer::start(), change).await
    }

    pub(crate) async fn with(
        server: NatsServer,
        change: impl FnOnce(&mut MessagingConfig),
    ) -> Self {
        let mut config = MessagingConfig::new(server.url().parse().unwrap(), Role::Worker);
        change(&mut config);
        let messaging = Messaging::connect(config).await.unwrap();
        messaging.provision([ModelName::default()]).await.unwrap();
        Self { server, messaging }
    }

    /// The server as any other client sees it.
    pub(crate) async fn raw(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.server.url()).await.unwrap())
    }

    /// A client of its own that subscribes to this subject; the server knows that it does.
    pub(crate) async fn subscribe(&self, subject: &'static str) -> Subscriber {
        assert!(
            !self.server.is_subscribed_to(subject),
            "another's subscription would be taken for this one"
        );
        let client = async_nats::connect(self.server.url()).await.unwrap();
        let subscriber = client.subscribe(subject).await.unwrap();
        self.server.wait_until_subscribed(subject).await;
        subscriber
    }

    pub(crate) async fn submit(&self, job: &Job) {
        self.messaging.queue().submit(job, picture()).await.unwrap();
    }

    pub(crate) async fn submit_many(&self, count: usize) -> Vec<TaskId> {
        let jobs: Vec<Job> = (0..count).map(|_| job()).collect();
        for job in &jobs {
            self.submit(job).await;
        }
        jobs.iter().map(|job| job.task_id).collect()
    }

    pub(crate) fn deliveries(&self) -> Deliveries {
        self.messaging.queue().deliveries([ModelName::default()])
    }

    /// Of these models.
    pub(crate) fn deliveries_of(&self, models: &[&str]) -> Deliveries {
        self.messaging.queue().deliveries(models.iter().map(|model| model.parse().unwrap()))
    }

    /// Waits until so many jobs wait and so many are in progress, and the queue holds no others. The
    /// consumer sees a stored job a moment after its publisher.
    pub(crate) async fn depth_becomes(&self, depth: (u64, u64)) {
        let last = Cell::new((u64::MAX, u64::MAX));
        let reached = eventually(TIMEOUT, async || {
            last.set(self.depth().await);
            let stored = self.server.stream("JOBS").expect("there is a queue").messages;
            (last.get() == depth && stored == depth.0 + depth.1).then_some(())
        });
        if timeout(TIMEOUT / 2, reached).await.is_err() {
            panic!("the depth is {:?}, not {depth:?}", last.get());
        }
    }

    /// Waits until the server has the request of an idle worker for a job of normal priority: the next one is sent to it
    /// whether or not it is still polled.
    pub(crate) async fn asks_for_jobs(&self, deliveries: &mut Deliveries) {
        self.requests_become(deliveries, 1, "normal-yolov8n", |requests| requests > 0).await;
    }

    /// Polls until the number of requests that the server has for a consumer is as wished. There must be no job for them.
    pub(crate) async fn requests_become(
        &self,
        deliveries: &mut Deliveries,
        free_slots: usize,
        consumer: &str,
        wished: impl Fn(usize) -> bool,
    ) {
        let jobs = self.raw().await.get_stream("JOBS").await.unwrap();
        let become_so = eventually(TIMEOUT, async || {
            let info = jobs.consumer_info(consumer).await.unwrap();
            wished(info.num_waiting).then_some(())
        });
        tokio::select! {
            delivery = deliveries.next(free_slots) => panic!("there is no job, but {delivery:?} came"),
            () = become_so => {}
        }
    }

    /// Waiting and in progress.
    pub(crate) async fn depth(&self) -> (u64, u64) {
        let depth = self.messaging.queue().depth().await.unwrap();
        (depth.waiting, depth.in_progress)
    }
}

pub(crate) fn job() -> Job {
    Job {
        submitted_at: OffsetDateTime::UNIX_EPOCH,
        ..Job::new("bus.jpg".to_owned(), "yolov8n".parse().unwrap(), DetectionSettings::default())
    }
}

pub(crate) fn job_for(model: &str) -> Job {
    Job { model: model.parse().unwrap(), ..job() }
}

pub(crate) fn picture() -> Bytes {
    Bytes::from_static(b"\xff\xd8 the bytes of a picture")
}

/// A picture of `length` bytes in which no two neighbourhoods look alike.
pub(crate) fn large_picture(length: usize) -> Bytes {
    (0..length).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

pub(crate) fn success(job: &Job) -> TaskRecord {
    let bbox = domain::BoundingBox { x1: 1.5, y1: 2.0, x2: 30.25, y2: 40.0 };
    let detection = Detection { bbox, class_id: ClassId(5), confidence: 0.8401 };
    TaskRecord::queued(job.clone()).with_state(TaskState::Success {
        started_at: None,
        finished_at: OffsetDateTime::UNIX_EPOCH,
        objects: vec![DetectedObject { detection, label: "bus".to_owned() }],
        width: 810,
        height: 1080,
        warnings: Vec::new(),
        run: None,
        model_digest: None,
        drawing: None,
        cached: false,
    })
}

pub(crate) fn failure(job: &Job) -> TaskRecord {
    TaskRecord::queued(job.clone()).with_state(TaskState::Failure {
        finished_at: OffsetDateTime::UNIX_EPOCH,
        reason: FailureReason::Poison,
        message: "delivered too often".to_owned(),
    })
}

pub(crate) async fn next(deliveries: &mut Deliveries, free_slots: usize) -> Delivery {
    timeout(TIMEOUT, deliveries.next(free_slots)).await.expect("a job is delivered")
}

pub(crate) async fn nothing_comes(deliveries: &mut Deliveries, during: Duration) {
    if let Ok(delivery) = timeout(during, deliveries.next(1)).await {
        panic!("nothing was to be delivered, but {delivery:?} was");
    }
}

/// The terminal record of a task, awaited also while the server is restarted.
pub(crate) async fn terminal(tasks: &TaskStore, id: TaskId) -> TaskRecord {
    tasks.await_terminal(id, sleep(TIMEOUT)).await.unwrap().expect("the task has a record")
}

/// How far ahead the deadline of a run is that a test begins.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// Begins a run of a task that is not terminal, as a worker does.
pub(crate) async fn begin(tasks: &TaskStore, job: &Job) -> TaskRecord {
    let snapshot = tasks.snapshot(job.task_id).await.unwrap();
    match tasks.begin(RunStart::now(job, 1), snapshot, LEASE).await.unwrap() {
        BeginOutcome::Begun(record) => record,
        BeginOutcome::AlreadyTerminal(record) => panic!("it is terminal: {record:?}"),
    }
}

/// The default settings.
static SETTINGS: LazyLock<DetectionSettings> = LazyLock::new(DetectionSettings::default);

/// A submission under an idempotency key.
pub(crate) fn submission(picture_name: &str) -> Submission<'_> {
    Submission {
        picture_name,
        picture_sha256: [7; 32].into(),
        settings: &SETTINGS,
        model: None,
        priority: Priority::Normal,
        metadata: None,
        annotated: None,
        callback_url: None,
        deadline: None,
    }
}
