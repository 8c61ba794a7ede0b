//! The worker's settings, one variable each.

use std::{net::SocketAddr, num::NonZero, path::PathBuf, time::Duration};

use detector::ExecutionProvider;
use domain::{ModelName, picture::PictureLimits};
use messaging::{MessagingConfig, Role};
use service::{
    config::{ConfigError, Reader, Source},
    telemetry::{LogSettings, traces::TraceSettings},
};

use crate::cores::{self, CoreShares};

/// Pictures of one run on a GPU, where none is set: a usual size, not one that was measured here.
const GPU_BATCH: NonZero<usize> = NonZero::new(8).unwrap();

/// Everything that can be set about a worker.
#[derive(Clone)]
pub struct Config {
    /// `MODEL`: the model to run, by the name it is installed under. Default `yolov8n`.
    pub model: ModelName,
    /// `MODELS_DIR`: the folder of installed models. Default: the nearest `models` upwards.
    pub models_dir: Option<PathBuf>,
    /// `EXECUTION_PROVIDER`: what runs the model: `cpu` (the default), `openvino`, `cuda` or
    /// `tensorrt`.
    pub provider: ExecutionProvider,
    /// `ORT_DYLIB_PATH`: ONNX Runtime's library. Default: the one that set-up fetched for that
    /// provider.
    pub onnx_runtime: Option<PathBuf>,
    /// `CONCURRENCY` and `THREADS_PER_PICTURE`: slots, and the cores of each.
    pub cores: CoreShares,
    /// `MAX_BATCH`: pictures of one size that one run of the model takes together. Default 1; on a
    /// GPU, 8.
    pub max_batch: NonZero<usize>,
    /// `BATCH_WINDOW_MS`: the longest a picture waits for others while a slot is free. Default 5.
    pub batch_window: Duration,
    /// `MAX_PICTURE_BYTES` (default 20 MiB) and `MAX_PICTURE_PIXELS` (default 64 Mi).
    pub picture_limits: PictureLimits,
    /// `JOB_DEADLINE_SECONDS`: the longest one run of the model may take. Default 60.
    pub job_deadline: Duration,
    /// `MAX_ATTEMPTS`: how often a job is tried before it is given up as poison. Default 5.
    pub max_attempts: u32,
    /// `SHUTDOWN_GRACE_SECONDS`: how long jobs may finish after SIGTERM. Default 25.
    pub shutdown_grace: Duration,
    /// `PROBES_ADDRESS`: where `/health/…` and `/metrics` are served, such as `127.0.0.1:9090`. Unset:
    /// nowhere.
    pub probes_address: Option<SocketAddr>,
    /// `NATS_URL` and what else there is about the queue.
    pub messaging: MessagingConfig,
    /// `LOG_FORMAT` and `RUST_LOG`: how log lines look, and what is logged.
    pub log: LogSettings,
    /// `OTEL_…`: whether and how traces are exported. Default: not at all.
    pub traces: TraceSettings,
}

impl Config {
    /// Reads the settings from `source`.
    ///
    /// # Errors
    /// [`ConfigError`] with every setting that cannot be used.
    pub fn read(source: &dyn Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let limits = PictureLimits::default();
        let provider = reader.read("EXECUTION_PROVIDER", ExecutionProvider::default());
        let cores = CoreShares::read(&mut reader, provider, cores::all(), None);
        let batch = if provider.is_gpu() { GPU_BATCH } else { NonZero::<usize>::MIN };
        let config = Self {
            model: reader.read("MODEL", ModelName::default()),
            models_dir: reader.read_optional("MODELS_DIR"),
            provider,
            onnx_runtime: reader.read_optional("ORT_DYLIB_PATH"),
            cores,
            max_batch: reader.read("MAX_BATCH", batch),
            batch_window: reader.milliseconds("BATCH_WINDOW_MS", 5),
            picture_limits: PictureLimits {
                max_bytes: reader.at_least("MAX_PICTURE_BYTES", 1, limits.max_bytes),
                max_pixels: reader.at_least("MAX_PICTURE_PIXELS", 1, limits.max_pixels),
            },
            job_deadline: reader.seconds("JOB_DEADLINE_SECONDS", 60),
            max_attempts: reader.at_least("MAX_ATTEMPTS", 1, 5),
            shutdown_grace: reader.seconds("SHUTDOWN_GRACE_SECONDS", 25),
            probes_address: reader.read_optional("PROBES_ADDRESS"),
            messaging: MessagingConfig::read(&mut reader, Role::Worker),
            log: LogSettings::read(&mut reader),
            traces: TraceSettings::read(&mut reader),
        };
        reader.finish(config)
    }
}
