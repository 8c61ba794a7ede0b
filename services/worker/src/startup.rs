//! Starting a worker: models, queue, probes and metrics, up to the consumer loop.

use std::{
    io,
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use detector::{
    Detector, ExecutionProvider, ModelError, OnnxRuntime, OnnxRuntimeError, SessionOptions,
    SharedModel,
};
use domain::{ModelName, Sha256Digest};
use messaging::{Messaging, MessagingError};
use service::{
    files,
    lifecycle::{exit, process_name::process_name},
    probes,
    telemetry::{
        metrics::{Metrics, MetricsError, STREAM_WRITABLE},
        traces::{Traces, TracesError},
    },
};
use tokio::sync::{RwLock, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    consume::{InFlightLimit, consume},
    cores,
    drawing::Drawer,
    health::WorkerHealth,
    heartbeat::Heartbeat,
    hints,
    inference::{
        AllCoresDetector, BatchRules, Batcher, LoadedModels, ModelSource, OwnModel, OwnModelInput,
        Placement, PlannedDetectors, Preprocessing, Slots,
    },
    metrics::{WorkerMetrics, register_model},
    process::Context,
    running::RunningTasks,
    served_models::{self, served_models},
};

/// The path at which set-up installs ONNX Runtime with `provider`, relative to the project's root.
#[must_use]
pub fn onnx_runtime_with(provider: ExecutionProvider) -> &'static str {
    match provider {
        ExecutionProvider::Cpu => ".cache/lib/libonnxruntime.so",
        ExecutionProvider::OpenVino => ".cache/lib/openvino/libonnxruntime.so",
        // One library has both.
        ExecutionProvider::Cuda | ExecutionProvider::TensorRt => {
            ".cache/lib/cuda/libonnxruntime.so"
        }
    }
}

/// The folder of installed models, relative to the project's root.
pub const MODELS_DIR: &str = "models";

/// Why a worker could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// ONNX Runtime is missing, too old, or lacks the provider.
    #[error("{}", hints::onnx_runtime(.0))]
    Runtime(#[from] OnnxRuntimeError),
    /// The model is not installed, or was changed since.
    #[error("{}", hints::model(.0))]
    Model(#[from] ModelError),
    /// NATS is unreachable, or rejects the worker.
    #[error("{}", hints::messaging(.0))]
    Messaging(#[from] MessagingError),
    /// The operating system gives no more threads.
    #[error("a slot's thread cannot be started: {0}")]
    Thread(#[from] io::Error),
    /// The worker cannot listen on `PROBES_ADDRESS`.
    #[error(transparent)]
    Probes(#[from] probes::ListenError),
    /// Metrics could not be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Traces cannot be exported.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// The model hangs and cannot be cancelled. Only a new process helps.
    #[error("the model hangs and cannot be cancelled: this worker stops so that it is restarted")]
    Hung,
}

impl WorkerError {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // The process that uses the port may stop.
            Self::Probes(error) if error.is_in_use() => exit::UNAVAILABLE,
            Self::Runtime(_) | Self::Model(_) | Self::Traces(_) | Self::Probes(_) => exit::USAGE,
            Self::Messaging(error) if error.is_configuration() => exit::USAGE,
            Self::Messaging(_) => exit::UNAVAILABLE,
            Self::Thread(_) | Self::Metrics(_) | Self::Hung => exit::SOFTWARE,
        }
    }
}

/// Runs a worker until `shutdown` is cancelled; running jobs finish first, within the grace time.
/// `ready` is called once, before the first job is pulled.
///
/// # Errors
/// [`WorkerError`] if it cannot start, or stops because the model hangs.
pub async fn run(
    config: Config,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), WorkerError> {
    let broken = CancellationToken::new();
    let traces = Traces::start(&config.traces, "spotter-worker")?;
    let metrics = Metrics::new()?;
    let health = Arc::new(WorkerHealth::new(shutdown.clone(), broken.clone()));
    let end = CancellationToken::new();
    let _probes_end_with_us = end.clone().drop_guard();
    if let Some(address) = config.probes_address {
        let listener = probes::listen(address).await?;
        tokio::spawn(probes::serve(
            listener,
            Arc::clone(&health) as _,
            metrics.clone(),
            end.clone(),
        ));
    }
    let Loaded { preprocessing, slots, models, model_digest, max_batch } = {
        let config = config.clone();
        // Loading weights takes about a second, in which probes must be answered.
        tokio::task::spawn_blocking(move || load_slots(&config))
            .await
            .map_err(io::Error::other)??
    };
    let messaging = Messaging::connect(config.messaging.clone()).await?;
    messaging.provision([]).await?;
    served_models::provision(&messaging, &models).await?;
    health.started(messaging.clone());
    let connection = messaging.clone();
    metrics.flag("spotter_nats_connected", "1 while there is a connection to NATS.", move || {
        connection.is_connected()
    });
    let writes = messaging.writes().clone();
    metrics.flags(STREAM_WRITABLE, "stream", move || writes.writable());
    let watched = messaging.clone();
    tokio::spawn(async move { end.run_until_cancelled(watched.watch_writes()).await });
    register_model(&metrics, &config.model, model_digest, config.provider);
    let served = models.iter().map(ModelName::as_str).collect::<Vec<_>>().join(",");
    let deliveries = messaging.queue().deliveries(models);
    let (metrics, slots) = (WorkerMetrics::new(&metrics), Arc::new(slots));
    let rules =
        BatchRules { most: max_batch, window: config.batch_window, deadline: config.job_deadline };
    let batcher = (max_batch > 1)
        .then(|| Batcher::start(Arc::clone(&slots), rules, metrics.clone(), broken.clone()));
    let drawer = Drawer {
        drawings: messaging.drawings(),
        permits: Arc::new(Semaphore::new(slots.count())),
        limits: config.picture_limits,
        timeout: config.job_deadline,
        metrics: metrics.clone(),
    };
    let context = Arc::new(Context {
        name: process_name(),
        tasks: messaging.tasks(),
        writes: messaging.writes().clone(),
        metrics,
        preprocessing,
        placement: placement(&config, max_batch),
        slots,
        batcher,
        max_batch,
        job_deadline: config.job_deadline,
        max_attempts: config.max_attempts,
        most_picture_bytes: config.picture_limits.max_bytes,
        drawer,
        running: RunningTasks::default(),
        isolation: RwLock::default(),
        release: CancellationToken::new(),
        broken,
    });
    watch_revoked_tasks(&messaging, &context).await?;
    let heartbeat = messaging.heartbeats().of_worker(&config.model, model_digest);
    // Before the first job, so that the model is known before its first result.
    let heartbeat = Heartbeat::start(heartbeat).await;
    tracing::info!(
        model = %config.model,
        models = %served,
        provider = %config.provider,
        concurrency = config.cores.slots,
        threads_per_picture = config.cores.per_slot,
        max_batch,
        "worker ready"
    );
    ready();
    let grace = config.shutdown_grace;
    let running = context.slots.count() * max_batch;
    let in_flight = if config.provider.is_gpu() {
        InFlightLimit::on_gpu(running, cores::all())
    } else {
        InFlightLimit::on_cpu(running)
    };
    consume(Arc::clone(&context), deliveries, in_flight, shutdown, grace).await;
    heartbeat.stop().await;
    // Each may wait for a server that does not answer.
    tokio::join!(messaging.close(), traces.stop());
    tracing::info!("worker stopped");
    if context.broken.is_cancelled() { Err(WorkerError::Hung) } else { Ok(()) }
}

/// Stops the runs of tasks that clients revoke, until the connection is closed.
async fn watch_revoked_tasks(
    messaging: &Messaging,
    context: &Arc<Context>,
) -> Result<(), WorkerError> {
    let mut cancellations = messaging.queue().cancellations().await?;
    let context = Arc::clone(context);
    tokio::spawn(async move {
        while let Some(id) = cancellations.next().await {
            context.running.revoke(id);
        }
    });
    Ok(())
}

/// What is loaded before the worker connects to NATS.
struct Loaded {
    preprocessing: Arc<Preprocessing>,
    slots: Slots,
    /// Those whose jobs are pulled.
    models: Vec<ModelName>,
    model_digest: Sha256Digest,
    /// The largest batch.
    max_batch: usize,
}

fn load_slots(config: &Config) -> Result<Loaded, WorkerError> {
    let started = Instant::now();
    let library = config.onnx_runtime.clone();
    let library = library.unwrap_or_else(|| nearest(onnx_runtime_with(config.provider)));
    let runtime = OnnxRuntime::load_with(&library, config.provider)?;
    let models_dir = config.models_dir.clone().unwrap_or_else(|| nearest(MODELS_DIR));
    let options = SessionOptions { provider: config.provider, threads: config.cores.per_slot };
    let models = served_models(config, &models_dir)?;
    let source = ModelSource { runtime: runtime.clone(), models_dir, options };
    let bundle = source.bundle(&config.model)?;
    let own = source.load_shared(&bundle)?;
    if let Some(why) = own.why_not_shared() {
        tracing::warn!(%why, "each slot has a copy of the model's weights");
    }
    let mut detectors: Vec<Detector> =
        (0..config.cores.slots.get()).map(|_| own.detector(&options)).collect::<Result<_, _>>()?;
    let max_batch = max_batch(config, &own, &mut detectors[0])?;
    let loaded = if config.provider.is_gpu() {
        on_gpu(&source, own, detectors, config.gpu_sessions, max_batch)
    } else {
        on_cpu(&source, &own, detectors)?
    };
    tracing::info!(model = %config.model, took_ms = started.elapsed().as_millis(), "model loaded");
    let limits = config.picture_limits;
    let own = OwnModelInput {
        name: config.model.clone(),
        preprocessor: bundle.preprocessor(limits),
        labels: bundle.labels().clone(),
    };
    let preprocessing = Arc::new(Preprocessing::new(own, limits, source));
    let slots = Slots::start(&runtime, loaded, &preprocessing)?;
    Ok(Loaded { preprocessing, slots, models, model_digest: bundle.digest(), max_batch })
}

fn placement(config: &Config, max_batch: usize) -> Placement {
    let has_one_core = config.cores.per_slot.get() == 1 && !config.provider.is_gpu();
    if has_one_core && max_batch == 1 { Placement::OnSlot } else { Placement::BesideRuns }
}

/// One slot's models for each of `detectors`.
fn on_cpu(
    source: &ModelSource,
    own: &SharedModel,
    detectors: Vec<Detector>,
) -> Result<Vec<LoadedModels>, ModelError> {
    let wide = AllCoresDetector::load(own, source.options, cores::all())?;
    let models = |detector| {
        let own = OwnModel::Slot { detector: Box::new(detector), wide: wide.clone() };
        LoadedModels::new(source.clone(), own)
    };
    Ok(detectors.into_iter().map(models).collect())
}

/// As many slots' models as there are `detectors`, which they share.
fn on_gpu(
    source: &ModelSource,
    own: SharedModel,
    detectors: Vec<Detector>,
    most: NonZero<usize>,
    max_batch: usize,
) -> Vec<LoadedModels> {
    let (slots, options) = (detectors.len(), source.options);
    let load = move || own.detector(&options);
    let planned = Arc::new(PlannedDetectors::new(detectors, most.get(), max_batch, load));
    let models = |_| LoadedModels::new(source.clone(), OwnModel::Planned(Arc::clone(&planned)));
    (0..slots).map(models).collect()
}

/// The configured batch size, if the model takes batches. This runs the model unless it runs on the CPU, one picture
/// at a time: other providers may load a model and fail in each run.
fn max_batch(
    config: &Config,
    own: &SharedModel,
    detector: &mut Detector,
) -> Result<usize, WorkerError> {
    let (asked, on_cpu) = (config.max_batch.get(), config.provider == ExecutionProvider::Cpu);
    if asked == 1 && on_cpu {
        return Ok(1);
    }
    match detector.takes_batches() {
        Ok(true) => Ok(asked),
        Ok(false) => {
            if asked > 1 {
                tracing::warn!(
                    model = %config.model,
                    asked,
                    "MAX_BATCH has no effect: this model takes one picture at a time; export it with a \
                     dynamic batch size"
                );
            }
            Ok(1)
        }
        Err(error) if on_cpu => {
            tracing::warn!(model = %config.model, %error, "MAX_BATCH has no effect: a trial run failed");
            Ok(1)
        }
        Err(error) => Err(own.trial_failed(error).into()),
    }
}

/// The path `relative` in the current folder or the nearest one above that has it. Without any, `relative`
/// itself, which an error then names.
#[must_use]
pub fn nearest(relative: &str) -> PathBuf {
    files::find_upwards(Path::new(relative)).unwrap_or_else(|| PathBuf::from(relative))
}
