//! Starting a worker: models, queue, probes and metrics, up to the consumer loop.

use std::{
    io,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::Arc,
};

use detector::{ExecutionProvider, ModelError, OnnxRuntime, OnnxRuntimeError, SessionOptions};
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
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    Config, ShadowConfig,
    consume::{InFlightLimit, consume},
    consumers::provision_consumers,
    context::Context,
    cores,
    drawing::Drawer,
    health::WorkerHealth,
    heartbeat::Heartbeat,
    hints,
    inference::{BatchRules, Batcher, Placement, Slots},
    load::Load,
    metrics::WorkerMetrics,
    models::{CacheRules, ModelCache, ModelLoader, register_gauges, watch_folder},
    running::RunningTasks,
    shadow::{ShadowMetrics, ShadowPublisher, ShadowRunner},
    status,
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
    let worker_metrics = WorkerMetrics::new(&metrics);
    let shadow_metrics = ShadowMetrics::new(&metrics);
    let Loaded { models, slots, shadow_slots, max_batch } = {
        let (config, metrics) = (config.clone(), worker_metrics.clone());
        // Loading weights takes about a second, in which probes must be answered.
        tokio::task::spawn_blocking(move || load(&config, metrics))
            .await
            .map_err(io::Error::other)??
    };
    let messaging = Messaging::connect(config.messaging.clone()).await?;
    messaging.provision([]).await?;
    provision_consumers(&messaging, &models.names()).await?;
    provision_shadow(&messaging, config.shadow.as_ref()).await;
    health.started(messaging.clone());
    let connection = messaging.clone();
    metrics.flag("spotter_nats_connected", "1 while there is a connection to NATS.", move || {
        connection.is_connected()
    });
    let writes = messaging.writes().clone();
    metrics.flags(STREAM_WRITABLE, "stream", move || writes.writable());
    let watched = messaging.clone();
    tokio::spawn(watch_folder(Arc::clone(&models), config.models_scan, end.clone()));
    tokio::spawn(async move { end.run_until_cancelled(watched.watch_writes()).await });
    register_gauges(&metrics, &models, config.provider);
    let deliveries = messaging.queue().deliveries(models.names());
    let (metrics, slots) = (worker_metrics, Arc::new(slots));
    let rules = BatchRules { window: config.batch_window, deadline: config.job_deadline };
    let batcher = (config.max_batch.get() > 1)
        .then(|| Batcher::start(Arc::clone(&slots), rules, metrics.clone(), broken.clone()));
    let drawer = Drawer {
        drawings: messaging.drawings(),
        permits: Arc::new(Semaphore::new(slots.count())),
        limits: config.picture_limits,
        timeout: config.job_deadline,
        metrics: metrics.clone(),
    };
    let shadow_jobs = config.shadow.clone().map(|shadow| {
        ShadowPublisher::new(shadow, messaging.shadow_jobs(), shadow_metrics.clone())
    });
    let load = Load::of_slots(slots.count());
    let context = Arc::new(Context {
        name: process_name(),
        tasks: messaging.tasks(),
        writes: messaging.writes().clone(),
        metrics,
        models,
        placement: placement(&config),
        slots,
        batcher,
        max_batch,
        job_deadline: config.job_deadline,
        max_attempts: config.max_attempts,
        most_picture_bytes: config.picture_limits.max_bytes,
        drawer,
        shadow_jobs,
        load,
        running: RunningTasks::default(),
        isolation: RwLock::default(),
        release: CancellationToken::new(),
        broken,
    });
    watch_revoked_tasks(&messaging, &context).await?;
    status::answer_requests(&messaging, &context).await?;
    if let (Some(shadow), Some(slots)) = (&config.shadow, shadow_slots) {
        let runner = ShadowRunner {
            model: shadow.model.clone(),
            deliveries: messaging.shadow_jobs().deliveries(shadow.model.clone()),
            comparisons: messaging.comparisons(),
            tasks: messaging.tasks(),
            models: Arc::clone(&context.models),
            slots,
            load: context.load.clone(),
            deadline: config.job_deadline,
            metrics: context.metrics.clone(),
            shadow_metrics,
        };
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(runner.run()));
    }
    // Before the first job, so that each model is known before its first result.
    let heartbeat =
        Heartbeat::start(&messaging, context.name.clone(), Arc::clone(&context.models)).await;
    let served: Vec<String> = context.models.names().into_iter().map(String::from).collect();
    tracing::info!(
        model = %config.model,
        models = served.join(","),
        model_memory_bytes = config.model_memory_bytes,
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
    // As a task: the thread that waits for this function would have to be woken for each delivery.
    let consuming = consume(Arc::clone(&context), deliveries, in_flight, shutdown, grace);
    let consumed = AbortOnDropHandle::new(tokio::spawn(consuming)).await;
    if let Some(panic) = consumed.err().and_then(|error| error.try_into_panic().ok()) {
        resume_unwind(panic);
    }
    heartbeat.stop().await;
    // Each may wait for a server that does not answer.
    tokio::join!(messaging.close(), traces.stop());
    tracing::info!("worker stopped");
    if context.broken.is_cancelled() { Err(WorkerError::Hung) } else { Ok(()) }
}

/// Provisions what shadow runs need. Without it, the worker works on its jobs all the same.
async fn provision_shadow(messaging: &Messaging, shadow: Option<&ShadowConfig>) {
    if let Some(ShadowConfig { model, .. }) = shadow
        && let Err(error) = messaging.provision_shadow(model).await
    {
        tracing::warn!(
            %model,
            %error,
            "there are no shadow runs; run the set-up (`spotter setup`) with SHADOW_MODEL"
        );
    }
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
    models: Arc<ModelCache>,
    slots: Slots,
    /// `None` without a shadow model.
    shadow_slots: Option<Slots>,
    /// The largest batch of the model that was loaded.
    max_batch: usize,
}

fn load(config: &Config, metrics: WorkerMetrics) -> Result<Loaded, WorkerError> {
    let library = config.onnx_runtime.clone();
    let library = library.unwrap_or_else(|| nearest(onnx_runtime_with(config.provider)));
    let runtime = OnnxRuntime::load_with(&library, config.provider)?;
    let loader = ModelLoader {
        runtime: runtime.clone(),
        models_dir: config.models_dir.clone().unwrap_or_else(|| nearest(MODELS_DIR)),
        options: SessionOptions { provider: config.provider, threads: config.cores.per_slot },
        slots: config.cores.slots,
        cores: cores::all(),
        max_batch: config.max_batch,
        gpu_sessions: config.gpu_sessions,
        limits: config.picture_limits,
    };
    let rules = CacheRules {
        wanted: config.models.clone(),
        first: config.model.clone(),
        budget: config.model_memory_bytes,
    };
    let (models, first) = ModelCache::start(loader, rules, metrics)?;
    let slots = Slots::start(&runtime, config.cores.slots)?;
    let runs_shadow = config.shadow.is_some() && !config.provider.is_gpu();
    if config.shadow.is_some() && !runs_shadow {
        tracing::warn!(
            "this worker makes no shadow runs: on a GPU they would take sessions from jobs; serve SHADOW_MODEL from \
             workers on CPUs"
        );
    }
    let shadow_slots = runs_shadow.then(|| Slots::start_shadow(&runtime)).transpose()?;
    Ok(Loaded { models: Arc::new(models), slots, shadow_slots, max_batch: first.max_batch() })
}

fn placement(config: &Config) -> Placement {
    let has_one_core = config.cores.per_slot.get() == 1 && !config.provider.is_gpu();
    if has_one_core && config.max_batch.get() == 1 {
        Placement::OnSlot
    } else {
        Placement::BesideRuns
    }
}

/// The path `relative` in the current folder or the nearest one above that has it. Without any, `relative`
/// itself, which an error then names.
#[must_use]
pub fn nearest(relative: &str) -> PathBuf {
    files::find_upwards(Path::new(relative)).unwrap_or_else(|| PathBuf::from(relative))
}
