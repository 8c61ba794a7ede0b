//! `spotter submit`: pictures to a running API, results back.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use domain::{
    BoundingBox, ClassId, DetectedObject, Detection, DetectionSettings, picture::PictureLimits,
};
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::{Client, Response, StatusCode, header, multipart};
use serde::{Deserialize, de::DeserializeOwned};
use service::address;
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

use crate::{
    cli::SubmitOptions,
    detect::read_picture,
    error::CliError,
    report::{Format, Found, print_failure},
};

/// How long one status request is held open. The API's own limit is 30 s.
const WAIT_SECONDS: u64 = 20;
/// The wait after a 503 that does not say how long to wait, and after no answer at all.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A task as `/v1/tasks` answers.
#[derive(Debug, Deserialize)]
struct Task {
    task_id: String,
    state: String,
    model: String,
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
    #[serde(default)]
    objects: Vec<FoundObject>,
    #[serde(default)]
    warnings: Vec<String>,
    failure: Option<Failure>,
}

#[derive(Debug, Deserialize)]
struct FoundObject {
    label: String,
    class_id: u32,
    confidence: f32,
    bbox: BoundingBox,
}

#[derive(Debug, Deserialize)]
struct Failure {
    message: String,
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    error: String,
}

pub(crate) fn submit(options: SubmitOptions) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(submit_all(&options));
    // A picture that was given up may still be read from a pipe that nobody writes to.
    runtime.shutdown_background();
    outcome
}

async fn submit_all(options: &SubmitOptions) -> Result<(), CliError> {
    let client = Api::new(options)?;
    client.check().await?;
    let format = Format::new(options.json);
    let progress = progress_bar(options.pictures.len());
    let results = stream::iter(&options.pictures)
        .map(|picture| client.detect(picture))
        // In the order of the arguments, however the jobs end.
        .buffered(options.parallel.get());
    let mut results = std::pin::pin!(results);
    let mut failed = 0;
    while let Some((picture, outcome)) = results.next().await {
        progress.inc(1);
        progress.suspend(|| match &outcome {
            Ok((task, took)) => print_task(picture, task, *took, format),
            Err(error) => {
                failed += 1;
                print_failure(picture, error, format)
            }
        })?;
    }
    progress.finish_and_clear();
    match failed {
        0 => Ok(()),
        failed => Err(CliError::Pictures { failed, all: options.pictures.len() }),
    }
}

fn progress_bar(pictures: usize) -> ProgressBar {
    let target = if pictures > 1 && std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(pictures as u64), target);
    let style =
        ProgressStyle::with_template("{wide_bar} {pos}/{len} pictures, {per_sec}, {eta} left");
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}

fn print_task(picture: &Path, task: &Task, took: Duration, format: Format) -> Result<(), CliError> {
    let object = |object: &FoundObject| DetectedObject {
        detection: Detection {
            bbox: object.bbox,
            class_id: ClassId(object.class_id),
            confidence: object.confidence,
        },
        label: object.label.clone(),
    };
    let objects: Vec<_> = task.objects.iter().map(object).collect();
    Found {
        picture,
        model: &task.model,
        width: task.width,
        height: task.height,
        objects: &objects,
        warnings: &task.warnings,
        took_ms: took.as_millis(),
    }
    .print(format)
}

/// What came of asking for a task.
enum Status {
    Known(Box<Task>),
    AskAgainAfter(Duration),
}

struct Api {
    client: Client,
    base: String,
    settings: DetectionSettings,
    patience: Duration,
}

impl Api {
    fn new(options: &SubmitOptions) -> Result<Self, CliError> {
        if address::shown(&options.api).is_none() {
            return Err(CliError::Usage(format!(
                "--api: it is no address (not shown, since it may hold a password): expected \
                 http://host:port; {}",
                address::ADVICE
            )));
        }
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(120))
            .build()
            .map_err(|error| CliError::Unavailable(describe(&error)))?;
        Ok(Self {
            client,
            base: options.api.trim_end_matches('/').to_owned(),
            settings: options.settings.into(),
            patience: Duration::from_secs(options.timeout),
        })
    }

    /// Whether there is an API at all: better said once than for each picture.
    async fn check(&self) -> Result<(), CliError> {
        let answer = self.client.get(format!("{}/health/live", self.base)).send().await;
        let problem = match answer.map(Response::error_for_status) {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) | Err(error) => describe(&error.without_url()),
        };
        Err(CliError::Unavailable(format!(
            "no API answers at {}: {problem}; start one with `spotter up`, or name another with --api",
            address::redacted(&self.base)
        )))
    }

    async fn detect<'a>(&self, picture: &'a Path) -> (&'a Path, Result<(Task, Duration), String>) {
        let started = Instant::now();
        let outcome = match timeout(self.patience, self.run(picture)).await {
            Ok(outcome) => outcome.map(|task| (task, started.elapsed())),
            Err(_) => Err(format!("not done within {:?}", self.patience)),
        };
        (picture, outcome)
    }

    async fn run(&self, picture: &Path) -> Result<Task, String> {
        let bytes = read(picture.to_owned()).await?;
        let mut task = self.upload(picture, bytes).await?;
        while matches!(task.state.as_str(), "QUEUED" | "STARTED") {
            let url = format!("{}/v1/tasks/{}?wait={WAIT_SECONDS}", self.base, task.task_id);
            match self.status(&url).await? {
                Status::Known(known) => task = *known,
                Status::AskAgainAfter(delay) => sleep(delay).await,
            }
        }
        match (task.state.as_str(), task.failure.take()) {
            ("SUCCESS", _) => Ok(task),
            (_, Some(failure)) => Err(failure.message),
            (state, None) => Err(format!("the task ended as {state}")),
        }
    }

    /// Asks once how a task is doing. The task is in good hands whether or not its API can be
    /// reached at the moment.
    async fn status(&self, url: &str) -> Result<Status, String> {
        let answer = match self.client.get(url).send().await {
            Ok(answer) if is_busy(&answer) => {
                return Ok(Status::AskAgainAfter(retry_after(&answer)));
            }
            Ok(answer) => answer,
            Err(error) => return ask_again(&error),
        };
        let status = answer.status();
        match answer.bytes().await {
            Ok(body) => understand(status, &body).map(|task| Status::Known(Box::new(task))),
            Err(error) => ask_again(&error),
        }
    }

    /// Sends the picture, again and again while the queue is full.
    async fn upload(&self, picture: &Path, bytes: Vec<u8>) -> Result<Task, String> {
        let DetectionSettings { confidence, iou, max_detections } = self.settings;
        let url = format!(
            "{}/v1/tasks?confidence={confidence}&iou={iou}&max_detections={}",
            self.base,
            max_detections.get()
        );
        let name = picture.file_name().unwrap_or_default().to_string_lossy().into_owned();
        loop {
            let part = multipart::Part::bytes(bytes.clone()).file_name(name.clone());
            let form = multipart::Form::new().part("file", part);
            let answer = self.client.post(&url).multipart(form).send().await;
            let answer = answer.map_err(|error| describe(&error))?;
            if is_busy(&answer) {
                sleep(retry_after(&answer)).await;
                continue;
            }
            let status = answer.status();
            let body = answer.bytes().await.map_err(|error| describe(&error))?;
            return understand(status, &body);
        }
    }
}

fn is_busy(answer: &Response) -> bool {
    answer.status() == StatusCode::SERVICE_UNAVAILABLE
}

fn retry_after(answer: &Response) -> Duration {
    let header = answer.headers().get(header::RETRY_AFTER);
    let seconds = header.and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(RETRY_AFTER, Duration::from_secs)
}

/// No answer, or half of one: the API may be starting anew.
fn ask_again(error: &reqwest::Error) -> Result<Status, String> {
    if error.is_builder() || error.is_redirect() {
        return Err(describe(error));
    }
    Ok(Status::AskAgainAfter(RETRY_AFTER))
}

/// Reads a picture on a thread where waiting holds nobody up.
async fn read(picture: PathBuf) -> Result<Vec<u8>, String> {
    let read = spawn_blocking(move || read_picture(&picture, &PictureLimits::default()));
    read.await.map_err(|error| error.to_string())?
}

fn understand<T: DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, String> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|error| format!("odd answer: {error}"));
    }
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => Err(body.error),
        Err(_) => Err(format!("the API answered {status}")),
    }
}

/// `reqwest` hides what happened behind "error sending request"; its innermost cause tells.
fn describe(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
