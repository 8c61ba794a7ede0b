//! Getting a worker to the point where it takes its first job.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use detector::{Detector, ModelBundle, ModelError, Runtime, RuntimeError, SessionOptions};
use messaging::{Messaging, MessagingError};
use runtime::{exit, files};
use tokio_util::sync::CancellationToken;

use crate::{Config, consume::consume, inference::Slots, process::Context};

/// Where set-up puts ONNX Runtime, seen from the project's root.
pub const ONNX_RUNTIME: &str = ".cache/lib/libonnxruntime.so";
/// Where models are installed, seen from the project's root.
pub const MODELS_DIR: &str = "models";

/// Why a worker could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// ONNX Runtime is not there, or too old.
    #[error("{0}")]
    Runtime(#[from] RuntimeError),
    /// The model is not installed, or not as it was when it was installed.
    #[error("{0}")]
    Model(#[from] ModelError),
    /// NATS is not there, or refuses.
    #[error("{0}")]
    Messaging(#[from] MessagingError),
    /// The operating system gives no more threads.
    #[error("a slot's thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
    /// The model hangs beyond cancelling; only a fresh process helps.
    #[error("the model hangs and cannot be cancelled: this worker stops to be replaced")]
    Hung,
}

impl WorkerError {
    /// What the process should end with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Runtime(_) | Self::Model(_) => exit::USAGE,
            Self::Messaging(_) => exit::UNAVAILABLE,
            Self::Thread(_) | Self::Hung => exit::SOFTWARE,
        }
    }
}

/// Runs a worker until `shutdown` is cancelled; running jobs finish first, within the grace time.
/// `ready` is called once, when it is about to take its first job.
///
/// # Errors
/// [`WorkerError`] if it cannot start, or has found itself broken.
pub async fn run(
    config: Config,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), WorkerError> {
    let slots = load_slots(&config)?;
    let messaging = Messaging::connect(config.messaging.clone()).await?;
    messaging.ensure().await?;
    let deliveries = messaging.queue().deliveries();
    let context = Arc::new(Context {
        tasks: messaging.tasks(),
        model: config.model.clone(),
        job_deadline: config.job_deadline,
        max_deliveries: config.max_deliveries,
        hand_back: CancellationToken::new(),
        broken: CancellationToken::new(),
    });
    tracing::info!(
        model = %config.model,
        concurrency = config.concurrency,
        threads_per_picture = config.threads_per_picture,
        "worker ready"
    );
    ready();
    consume(Arc::clone(&context), deliveries, slots, shutdown, config.shutdown_grace).await;
    messaging.close().await;
    tracing::info!("worker stopped");
    if context.broken.is_cancelled() { Err(WorkerError::Hung) } else { Ok(()) }
}

fn load_slots(config: &Config) -> Result<Slots, WorkerError> {
    let started = Instant::now();
    let library = config.onnx_runtime.clone().unwrap_or_else(|| nearest(ONNX_RUNTIME));
    let runtime = Runtime::load(&library)?;
    let models_dir = config.models_dir.clone().unwrap_or_else(|| nearest(MODELS_DIR));
    let bundle = ModelBundle::load(&models_dir.join(config.model.as_str()))?;
    bundle.verify()?;
    let options =
        SessionOptions { threads: config.threads_per_picture, ..SessionOptions::default() };
    let detectors: Vec<Detector> = (0..config.concurrency.get())
        .map(|_| Detector::load(&runtime, &bundle, &options))
        .collect::<Result<_, _>>()?;
    tracing::info!(model = %config.model, took_ms = started.elapsed().as_millis(), "model loaded");
    Ok(Slots::start(&runtime, detectors, config.picture_limits)?)
}

/// The file at `relative` upwards of here, or that path itself, for the error that names it.
#[must_use]
pub fn nearest(relative: &str) -> PathBuf {
    files::find_upwards(Path::new(relative)).unwrap_or_else(|| PathBuf::from(relative))
}
