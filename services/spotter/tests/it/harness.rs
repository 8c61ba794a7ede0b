//! The system's services as processes, and commands that are run to completion.

use std::{ffi::OsStr, fs, path::Path, time::Duration};

use client::{Client, Task, Timeouts};
use domain::TaskId;
use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use serde_json::Value;
use testkit::{NatsServer, Output, Process, ProcessBuilder, RedisServer, workspace_root};

/// Longer than anything takes on a busy machine: only a failing test waits this long.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(90);

/// How long one status request is held open.
pub(crate) const WAIT: Duration = Duration::from_secs(20);

/// The command, with the project's root as its working directory.
pub(crate) fn spotter<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> ProcessBuilder {
    Process::builder(env!("CARGO_BIN_EXE_spotter")).args(args).current_dir(workspace_root())
}

/// A command that has exited.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

impl Ended {
    pub(crate) fn of(command: ProcessBuilder) -> Self {
        Self::after(command.start())
    }

    /// Waits until it has exited.
    pub(crate) fn after(mut process: Process) -> Self {
        let code = process.wait_exit(TIMEOUT).code();
        let lines = process.finished_lines();
        let of = |output| {
            let lines = lines.iter().filter(|line| line.output == output);
            lines.map(|line| line.text.clone()).collect()
        };
        Self { code, stdout: of(Output::Stdout), stderr: of(Output::Stderr) }
    }
}

/// The classes of a small model.
pub(crate) const SMALL_MODEL_CLASSES: usize = 5;

/// Installs an export of `family` that takes next to no time, in place of the version before.
pub(crate) fn install_small_model(models: &Path, name: &str, family: &str, labels: &[String]) {
    let file = models.join("labels.txt");
    fs::write(&file, labels.join("\n")).expect("the labels can be written");
    let add = spotter(["model", "add", "--replace", "--name", name, "--labels"]).arg(&file);
    let source = format!("libs/detector/tests/families/{family}.onnx");
    let add = add.arg("--models-dir").arg(models).arg(workspace_root().join(source));
    let added = Ended::of(add);
    assert_eq!(added.code, Some(0), "{added:?}");
}

/// NATS, Redis and one API. Tests add workers.
pub(crate) struct System {
    pub(crate) nats: NatsServer,
    pub(crate) redis: RedisServer,
    /// For requests that [`Client`] does not make.
    pub(crate) http: reqwest::Client,
    pub(crate) v1: Client,
    pub(crate) base: String,
    pub(crate) api: Process,
}

impl System {
    /// A system without a cache of results: every picture is run.
    pub(crate) fn start() -> Self {
        Self::start_with(&[("RESPONSE_CACHE_SECONDS", "0")])
    }

    /// `settings` are the API's variables.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_on(NatsServer::start(), settings)
    }

    /// As [`System::start_with`], on this NATS server.
    pub(crate) fn start_on(nats: NatsServer, settings: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start();
        let mut api = spotter(["api"])
            .env("PORT", "0")
            .env("NATS_URL", nats.url())
            .env("REDIS_URL", redis.url());
        for (name, value) in settings {
            api = api.env(*name, *value);
        }
        let api = api.start();
        let line = api.wait_for_line(|line| line.output == Output::Stdout, TIMEOUT).text;
        let base = line.strip_prefix("listening on ").expect("the API says where").to_owned();
        let http = testkit::http_client(TIMEOUT);
        let v1 = Client::new(&base, Timeouts::default()).expect("a client can be made");
        Self { nats, redis, http, v1, base, api }
    }

    /// A worker that is ready.
    pub(crate) fn worker(&self) -> Process {
        self.worker_with(&[])
    }

    /// As [`System::worker`], with these variables.
    pub(crate) fn worker_with(&self, settings: &[(&str, &str)]) -> Process {
        let mut worker =
            spotter(["worker"]).env("NATS_URL", self.nats.url()).env("CONCURRENCY", "1");
        for (name, value) in settings {
            worker = worker.env(*name, *value);
        }
        let worker = worker.start();
        worker.wait_for_line(|line| line.text == "ready", TIMEOUT);
        worker
    }

    /// Uploads a picture by the original route and returns the task's id.
    pub(crate) async fn start_task(&self, name: &str, bytes: Vec<u8>) -> TaskId {
        let form = Form::new().part("file", Part::bytes(bytes).file_name(name.to_owned()));
        let request = self.http.post(format!("{}/start_task", self.base)).multipart(form);
        let answer = request.send().await.expect("the API answers");
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let body: Value = answer.json().await.expect("JSON");
        body["task_id"].as_str().expect("an id").parse().expect("an id")
    }

    /// The task on the original route.
    pub(crate) async fn result(&self, id: TaskId) -> Value {
        let answer = self.http.get(format!("{}/task_result/{id}", self.base)).send().await;
        let answer = answer.expect("the API answers");
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json().await.expect("JSON")
    }

    /// What `GET` answers on a path of `/v1`.
    pub(crate) async fn v1_get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await;
        let answer = answer.expect("the API answers");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.json().await.expect("JSON")
    }

    /// The task as it is now.
    pub(crate) async fn task(&self, id: TaskId) -> Task {
        self.v1.task(id, Duration::ZERO).await.expect("the task is known")
    }

    /// The task once it is terminal. Unlike [`Client::await_terminal`], this accepts no error on the way.
    pub(crate) async fn terminal(&self, id: TaskId) -> Task {
        loop {
            let task = self.v1.task(id, WAIT).await.expect("the task is known");
            if task.is_terminal() {
                return task;
            }
        }
    }
}
