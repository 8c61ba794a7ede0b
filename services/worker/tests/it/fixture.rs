//! A queue, and workers on it.

use std::{collections::HashMap, fs, time::Duration};

use bytes::Bytes;
use domain::{DetectionSettings, Job, ModelName, TaskId, TaskRecord, TaskState};
use messaging::{BeginOutcome, Messaging, MessagingConfig, Role, RunStart, Settlement};
use testkit::{NatsServer, eventually, require, workspace_root};
use time::OffsetDateTime;
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Longer than anything takes on a busy machine: only a failing test reaches it.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Pictures above this many bytes are in the object store of [`Queue::for_held_tasks`].
const INLINE_LIMIT: usize = 1000;

pub(crate) struct Queue {
    pub(crate) nats: NatsServer,
    pub(crate) messaging: Messaging,
}

impl Queue {
    /// Begins a run of the job with its `delivery`th delivery, as a worker does that is about to die.
    pub(crate) async fn begin(&self, job: &Job, delivery: u32) -> TaskRecord {
        let tasks = self.messaging.tasks();
        let snapshot = tasks.snapshot(job.task_id).await.unwrap();
        match tasks.begin(RunStart::now(job, delivery), snapshot, TIMEOUT).await.unwrap() {
            BeginOutcome::Begun(record) => record,
            BeginOutcome::AlreadyTerminal(record) => panic!("it is terminal: {record:?}"),
        }
    }

    /// Takes the job and begins its run, as a worker does that is killed in mid-run.
    pub(crate) async fn die_in_run(&self, job: &Job) {
        let mut deliveries = self.messaging.queue().deliveries([ModelName::default()]);
        let delivery = deliveries.next(1).await;
        assert_eq!(delivery.job, *job);
        self.begin(job, delivery.attempt).await;
        // As the server redelivers it after `ack_wait`.
        delivery.settle(Settlement::RetryAfter(Duration::ZERO)).await.unwrap();
        deliveries.stop().await;
    }

    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut MessagingConfig)) -> Self {
        Self::start_on(NatsServer::start(), change).await
    }

    pub(crate) async fn for_held_tasks() -> Self {
        Self::start_with(|config| config.inline_limit = INLINE_LIMIT).await
    }

    /// With a NATS server of the test's own making.
    pub(crate) async fn start_on(
        nats: NatsServer,
        change: impl FnOnce(&mut MessagingConfig),
    ) -> Self {
        let mut config = MessagingConfig::new(nats.url().parse().unwrap(), Role::Api);
        change(&mut config);
        let messaging = Messaging::connect(config).await.expect("NATS answers");
        messaging.provision([ModelName::default()]).await.expect("the queue can be set up");
        Self { nats, messaging }
    }

    pub(crate) async fn submit(&self, picture: Vec<u8>) -> TaskId {
        self.submit_job(job(), picture).await
    }

    pub(crate) async fn submit_job(&self, job: Job, picture: Vec<u8>) -> TaskId {
        let task_id = job.task_id;
        let queue = self.messaging.queue();
        queue.submit(&job, Bytes::from(picture)).await.expect("the queue takes it");
        task_id
    }

    /// The record once it is terminal. There may be none yet, and the server may just be restarting.
    pub(crate) async fn ended(&self, id: TaskId) -> TaskRecord {
        let tasks = self.messaging.tasks();
        eventually(TIMEOUT, async || {
            tasks.get(id).await.ok().flatten().filter(|record| record.state.is_terminal())
        })
        .await
    }

    /// Waits until every job has been settled. The stream knows of a job as soon as it is stored, its
    /// consumer a moment later.
    pub(crate) async fn drained(&self) {
        eventually(TIMEOUT, async || {
            let stored = self.nats.stream("JOBS").expect("there is a queue").messages;
            let depth = self.messaging.queue().depth().await.expect("NATS answers");
            (stored == 0 && depth.in_progress == 0).then_some(())
        })
        .await;
    }

    /// Starts a worker and waits until it is ready. `settings` are variables such as `CONCURRENCY`.
    pub(crate) async fn worker(&self, settings: &[(&str, &str)]) -> Worker {
        let mut variables: HashMap<String, String> =
            settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        variables.insert("NATS_URL".to_owned(), self.nats.url());
        require(workspace_root().join("models/yolov8n/model.toml"));
        let config = worker::Config::read(&variables).expect("the test's settings are right");
        let shutdown = CancellationToken::new();
        let (ready, is_ready) = oneshot::channel();
        let task = tokio::spawn(worker::run(config, shutdown.clone(), move || {
            let _ = ready.send(());
        }));
        if is_ready.await.is_err() {
            panic!("the worker did not start: {:?}", task.await);
        }
        Worker { shutdown, task }
    }
}

pub(crate) struct Worker {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), worker::WorkerError>>,
}

impl Worker {
    /// As SIGTERM does.
    pub(crate) async fn stop(self) -> Result<(), worker::WorkerError> {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(TIMEOUT, self.task).await;
        ended.expect("it stops").expect("it does not panic")
    }
}

pub(crate) fn job() -> Job {
    Job::new(
        "bus.jpg".to_owned(),
        "yolov8n".parse().expect("a model's name"),
        DetectionSettings::default(),
    )
}

pub(crate) fn bus() -> Vec<u8> {
    fs::read(testkit::picture("bus.jpg")).expect("bus.jpg can be read")
}

/// A task of [`Queue::for_held_tasks`] whose run goes on until the test releases it: its picture's only piece is missing.
pub(crate) struct HeldTask {
    pub(crate) id: TaskId,
    piece_subject: String,
}

impl HeldTask {
    /// No model takes it, so the task fails as soon as it is released.
    fn picture() -> String {
        "x".repeat(2 * INLINE_LIMIT)
    }

    pub(crate) async fn submit(queue: &Queue) -> Self {
        let before = piece_subjects(&queue.nats);
        let id = queue.submit(Self::picture().into_bytes()).await;
        let mut added = piece_subjects(&queue.nats);
        added.retain(|subject| !before.contains(subject));
        let piece_subject = added.pop().expect("its piece is stored");
        let filter = format!(r#"{{"filter":"{piece_subject}"}}"#);
        let purged = request(&queue.nats, "$JS.API.STREAM.PURGE.OBJ_pictures", &filter);
        assert!(purged.contains(r#""purged":1"#), "{purged}");
        Self { id, piece_subject }
    }

    /// Waits until a worker runs it.
    pub(crate) async fn started(&self, queue: &Queue) {
        eventually(TIMEOUT, async || self.is_running(queue).await.then_some(())).await;
    }

    pub(crate) async fn is_running(&self, queue: &Queue) -> bool {
        let record = queue.messaging.tasks().find(self.id).await.unwrap().unwrap();
        matches!(record.state, TaskState::Started { .. }) && record.attempts == 1
    }

    /// When the run began, and its own deadline.
    pub(crate) async fn run(&self, queue: &Queue) -> (OffsetDateTime, OffsetDateTime) {
        let record = queue.messaging.tasks().find(self.id).await.unwrap().unwrap();
        let TaskState::Started { started_at, run_deadline: Some(run_deadline) } = record.state
        else {
            panic!("{record:?}")
        };
        (started_at, run_deadline)
    }

    pub(crate) fn release(&self, queue: &Queue) {
        let stored = request(&queue.nats, &self.piece_subject, &Self::picture());
        assert!(stored.contains("OBJ_pictures"), "{stored}");
    }
}

/// The subjects of the pieces of each picture in the object store.
fn piece_subjects(nats: &NatsServer) -> Vec<String> {
    let filter = r#"{"subjects_filter":"$O.pictures.C.>"}"#;
    let info = request(nats, "$JS.API.STREAM.INFO.OBJ_pictures", filter);
    let texts = info.split('"').filter(|text| text.starts_with("$O.pictures.C."));
    texts.filter(|text| !text.ends_with('>')).map(str::to_owned).collect()
}

fn request(nats: &NatsServer, subject: &str, payload: &str) -> String {
    nats.request(subject, payload).expect("the server answers")
}
