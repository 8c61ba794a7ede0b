//! An API with servers of its own for each test.

use std::{collections::HashMap, fs, time::Duration};

use domain::{
    BoundingBox, ClassId, DetectedObject, Detection, Drawing, FailureReason, LabelMap, ModelName,
    Sha256Digest, TaskId, TaskRecord, TaskState,
};
use messaging::{DescribedInput, Messaging, MessagingConfig, ModelDescription, Role, TaskStore};
use reqwest::{
    Client, Response, StatusCode,
    multipart::{Form, Part},
};
use serde_json::Value;
use testkit::{NatsServer, RedisServer};
use time::OffsetDateTime;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// Longer than anything takes on a busy machine; only a failing test waits for it.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// An API with its own NATS and Redis, all of which end with the test.
pub(crate) struct TestApp {
    pub(crate) nats: NatsServer,
    pub(crate) redis: RedisServer,
    pub(crate) client: Client,
    base: String,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), api::ServeError>>,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// `settings` are variables such as `MAX_PICTURE_BYTES`; `NATS_URL` and
    /// `REDIS_URL` for other servers.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_on(NatsServer::start(), settings).await
    }

    /// With the given NATS server.
    pub(crate) async fn start_on(nats: NatsServer, settings: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start();
        let mut variables: HashMap<String, String> =
            settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        variables.entry("NATS_URL".to_owned()).or_insert_with(|| nats.url());
        variables.entry("REDIS_URL".to_owned()).or_insert_with(|| redis.url());
        // On a busy machine, Redis must not run into its timeout.
        variables.entry("REDIS_TIMEOUT_MS".to_owned()).or_insert_with(|| "20000".to_owned());
        let config = api::Config::read(&variables).expect("the test's settings are right");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let base = format!("http://{}", listener.local_addr().expect("it is bound"));
        let shutdown = CancellationToken::new();
        let (ready, is_ready) = oneshot::channel();
        let server = tokio::spawn(api::serve(listener, config, shutdown.clone(), move || {
            let _ = ready.send(());
        }));
        if is_ready.await.is_err() {
            panic!("the API did not start: {:?}", server.await);
        }
        let client = testkit::http_client(TEST_TIMEOUT);
        Self { nats, redis, client, base, shutdown, server }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.client.get(self.url(path)).send().await.expect("the API answers");
        json(answer).await
    }

    pub(crate) async fn post(&self, path: &str, form: Form) -> Response {
        let request = self.client.post(self.url(path)).multipart(form);
        request.send().await.expect("the API answers")
    }

    /// Uploads bus.jpg and returns the task's id.
    pub(crate) async fn start_task(&self) -> TaskId {
        let (status, body) = json(self.post("/start_task", bus_form()).await).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        body["task_id"].as_str().expect("an id").parse().expect("a UUID")
    }

    /// A connection as a worker.
    pub(crate) async fn worker_side(&self) -> Messaging {
        let config = MessagingConfig::new(self.nats.url().parse().unwrap(), Role::Worker);
        Messaging::connect(config).await.expect("NATS answers")
    }

    /// Provisions the queue for a model and describes it, as a worker that serves it does.
    pub(crate) async fn install(&self, name: &str) {
        let (worker, name) = (self.worker_side().await, name.parse::<ModelName>().unwrap());
        worker.provision([name.clone()]).await.expect("NATS answers");
        let stored = worker.model_descriptions();
        stored.store(&name, &description(&["helmet", "head"])).await.expect("NATS answers");
    }

    /// Stores SUCCESS with one bus, as a worker would.
    pub(crate) async fn succeed(&self, id: TaskId) -> TaskRecord {
        self.succeed_with_warnings(id, &[]).await
    }

    /// The same with warnings about damaged pixels.
    pub(crate) async fn succeed_with_warnings(&self, id: TaskId, warnings: &[&str]) -> TaskRecord {
        self.succeed_with(id, warnings, None).await
    }

    /// The same with the drawing that the record names.
    pub(crate) async fn succeed_with(
        &self,
        id: TaskId,
        warnings: &[&str],
        drawing: Option<Drawing>,
    ) -> TaskRecord {
        let state = TaskState::Success {
            started_at: None,
            finished_at: OffsetDateTime::now_utc(),
            objects: vec![bus()],
            width: 810,
            height: 1080,
            warnings: warnings.iter().map(|warning| (*warning).to_owned()).collect(),
            run: None,
            model_digest: Some(model()),
            drawing,
            cached: false,
        };
        self.end(id, state).await
    }

    /// Stores SUCCESS without objects, by the version of a model with this digest.
    pub(crate) async fn succeed_by(&self, id: TaskId, digest: Sha256Digest) -> TaskRecord {
        let state = TaskState::Success {
            started_at: None,
            finished_at: OffsetDateTime::now_utc(),
            objects: Vec::new(),
            width: 810,
            height: 1080,
            warnings: Vec::new(),
            run: None,
            model_digest: Some(digest),
            drawing: None,
            cached: false,
        };
        self.end(id, state).await
    }

    /// Stores FAILURE, as a worker would.
    pub(crate) async fn fail(&self, id: TaskId, message: &str) -> TaskRecord {
        let state = TaskState::Failure {
            finished_at: OffsetDateTime::now_utc(),
            reason: FailureReason::UndecodablePicture,
            message: message.to_owned(),
        };
        self.end(id, state).await
    }

    async fn end(&self, id: TaskId, state: TaskState) -> TaskRecord {
        let tasks: TaskStore = self.worker_side().await.tasks();
        let record = tasks.find(id).await.expect("NATS answers").expect("the task has a record");
        let record = record.with_state(state);
        tasks.finish(&record).await.expect("NATS answers");
        record
    }

    /// How many jobs are in the queue. The stream counts a job as soon as it is stored, its consumer a moment
    /// later.
    pub(crate) fn jobs(&self) -> u64 {
        self.nats.stream("JOBS").expect("there is a queue").messages
    }

    /// Begins the shutdown, as SIGTERM does.
    pub(crate) fn stop(&self) {
        self.shutdown.cancel();
    }

    /// Waits until the API has stopped.
    pub(crate) async fn stopped(mut self) {
        let stopped = timeout(TEST_TIMEOUT, &mut self.server).await.expect("it stops");
        stopped.expect("it does not panic").expect("it stops in order");
    }

    /// The value of a metric, of the line that contains all of `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &str) -> Option<u64> {
        let answer = self.client.get(self.url("/metrics")).send().await.expect("the API answers");
        let text = answer.text().await.expect("text");
        let line = text.lines().find(|line| line.starts_with(name) && line.contains(labels))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) async fn json(answer: Response) -> (StatusCode, Value) {
    let status = answer.status();
    let text = answer.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: no JSON: {text}"));
    (status, body)
}

/// The text of an error: of the original routes, or of `/v1`.
pub(crate) fn error_text(body: &Value) -> &str {
    let text = body["error"].as_str().or(body["detail"].as_str());
    text.unwrap_or_else(|| panic!("no error: {body}"))
}

pub(crate) fn bus_bytes() -> Vec<u8> {
    fs::read(testkit::picture("bus.jpg")).expect("bus.jpg can be read")
}

pub(crate) fn form(name: &str, bytes: Vec<u8>) -> Form {
    Form::new().part("file", Part::bytes(bytes).file_name(name.to_owned()))
}

pub(crate) fn bus_form() -> Form {
    form("bus.jpg", bus_bytes())
}

/// The description of a model with these classes.
pub(crate) fn description(classes: &[&str]) -> ModelDescription {
    ModelDescription {
        model_digest: model(),
        head: "yolov8-cut".to_owned(),
        input: DescribedInput::LongSide(640),
        labels: LabelMap::new(classes.iter().map(|class| (*class).to_owned()).collect()),
        license: "Apache-2.0".to_owned(),
        producer: "pytorch 2.8".to_owned(),
        source_sha256: [2; 32].into(),
        stored_at: OffsetDateTime::now_utc(),
    }
}

/// The digest of the model in the records of [`TestApp::succeed`].
pub(crate) fn model() -> Sha256Digest {
    [1; 32].into()
}

pub(crate) fn bus() -> DetectedObject {
    let bbox = BoundingBox { x1: 22.875, y1: 231.25, x2: 805.5, y2: 756.75 };
    let detection = Detection { bbox, class_id: ClassId(5), confidence: 0.873_448 };
    DetectedObject { detection, label: "bus".to_owned() }
}
