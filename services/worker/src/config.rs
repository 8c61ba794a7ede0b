//! The worker's settings, one variable each.

use std::{net::SocketAddr, num::NonZero, path::PathBuf, time::Duration};

use detector::ExecutionProvider;
use domain::{ModelName, ModelNames, picture::PictureLimits};
use messaging::{MessagingConfig, Role};
use service::{
    config::{ConfigError, Reader, Source},
    telemetry::{LogSettings, traces::TraceSettings},
};

use crate::cores::{self, CoreShares};

/// The default batch on a GPU. Larger ones gain little (docs/performance.md).
const GPU_BATCH: NonZero<usize> = NonZero::new(8).unwrap();

/// The default of `MODEL_MEMORY_BYTES` is the larger of two amounts: one for the worker, one for each slot.
const MODEL_MEMORY_BYTES: u64 = 1 << 30;
/// The second one.
const MODEL_MEMORY_BYTES_OF_A_SLOT: u64 = 256 << 20;

/// The default of sessions on a GPU.
const GPU_SESSIONS: NonZero<usize> = NonZero::new(16).unwrap();

/// The default of `SHADOW_SHARE`.
const SHADOW_SHARE: f64 = 0.1;

/// Which jobs the shadow model runs as well.
#[derive(Debug, Clone, PartialEq)]
pub struct ShadowConfig {
    /// `SHADOW_MODEL`: the name of the shadow model.
    pub model: ModelName,
    /// `SHADOW_SHARE`: the share of the jobs of other models, from 0 to 1. Default 0.1.
    pub share: f64,
}

/// All settings of a worker.
#[derive(Clone)]
pub struct Config {
    /// `MODEL`: the name of the installed model that is loaded at the start. Default: the first one of `MODELS`, or
    /// `yolov8n`.
    pub model: ModelName,
    /// `MODELS`: the names of the installed models whose jobs it runs, separated by commas. Default: all installed ones.
    pub models: Option<ModelNames>,
    /// `SHADOW_MODEL` and `SHADOW_SHARE`. Default: there is no shadow model.
    pub shadow: Option<ShadowConfig>,
    /// `MODEL_MEMORY_BYTES`: about how much memory models may take. Beyond it the least recently used one is dropped,
    /// unless it is in use. Default 1 GiB, or 256 MiB for each slot if that is more.
    pub model_memory_bytes: u64,
    /// `MODELS_SCAN_SECONDS`: the interval in which the folder of models is searched for changes. Default 5.
    pub models_scan: Duration,
    /// `MODELS_DIR`: the folder of installed models. Default: `models` in the current folder or the nearest
    /// one above.
    pub models_dir: Option<PathBuf>,
    /// `EXECUTION_PROVIDER`: `cpu` (the default), `openvino`, `cuda` or `tensorrt`.
    pub provider: ExecutionProvider,
    /// `ORT_DYLIB_PATH`: ONNX Runtime's library. Default: the one that set-up fetched for that
    /// provider.
    pub onnx_runtime: Option<PathBuf>,
    /// `CONCURRENCY` and `THREADS_PER_PICTURE`: slots, and the cores of each.
    pub cores: CoreShares,
    /// `MAX_BATCH`: the most pictures of one size in one run of the model. Default 1; on a GPU, 8.
    pub max_batch: NonZero<usize>,
    /// `GPU_SESSIONS`: the most sessions of the model on a GPU, each planned for one shape of input; at least one for
    /// each slot. Default 16; with TensorRT, one for each slot.
    pub gpu_sessions: NonZero<usize>,
    /// `BATCH_WINDOW_MS`: the longest wait of a picture for others while a slot is free. Default 5.
    pub batch_window: Duration,
    /// `MAX_PICTURE_BYTES` (default 20 MiB) and `MAX_PICTURE_PIXELS` (default 64 Mi).
    pub picture_limits: PictureLimits,
    /// `JOB_DEADLINE_SECONDS`: the longest one run of the model may take. Default 60.
    pub job_deadline: Duration,
    /// `MAX_ATTEMPTS`: the attempts at a job before it fails as poison. Default 5.
    pub max_attempts: u32,
    /// `SHUTDOWN_GRACE_SECONDS`: how long running jobs may go on after SIGTERM. Default 25.
    pub shutdown_grace: Duration,
    /// `PROBES_ADDRESS`: the address of `/health/…` and `/metrics`, such as `127.0.0.1:9090`. Unset: they are
    /// not served.
    pub probes_address: Option<SocketAddr>,
    /// `NATS_URL` and the other settings of NATS and the queue.
    pub messaging: MessagingConfig,
    /// `LOG_FORMAT` and `RUST_LOG`: the format and the level of logs.
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
        // TensorRT builds an engine for each, which can take minutes.
        let few = provider == ExecutionProvider::TensorRt;
        let sessions = if few { NonZero::<usize>::MIN } else { GPU_SESSIONS };
        let models = reader.read_optional("MODELS");
        let memory = MODEL_MEMORY_BYTES_OF_A_SLOT.saturating_mul(cores.slots.get() as u64);
        let memory = memory.max(MODEL_MEMORY_BYTES);
        let config = Self {
            model: model(&mut reader, models.as_ref()),
            models,
            shadow: shadow(&mut reader),
            model_memory_bytes: reader.at_least("MODEL_MEMORY_BYTES", 1, memory),
            models_scan: reader.seconds("MODELS_SCAN_SECONDS", 5),
            models_dir: reader.read_optional("MODELS_DIR"),
            provider,
            onnx_runtime: reader.read_optional("ORT_DYLIB_PATH"),
            cores,
            max_batch: reader.read("MAX_BATCH", batch),
            gpu_sessions: reader.read("GPU_SESSIONS", sessions),
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

fn shadow(reader: &mut Reader<'_>) -> Option<ShadowConfig> {
    let share = reader.within("SHADOW_SHARE", 0.0, 1.0, SHADOW_SHARE);
    reader.read_optional("SHADOW_MODEL").map(|model| ShadowConfig { model, share })
}

/// The model that is loaded at the start.
fn model(reader: &mut Reader<'_>, models: Option<&ModelNames>) -> ModelName {
    let model = reader.read_optional("MODEL");
    match (model, models) {
        (Some(model), Some(models)) if !models.contains(&model) => {
            reader.problem("MODEL", format!("'{model}' is not one of MODELS"));
            model
        }
        (Some(model), _) => model,
        (None, Some(models)) => models.first().clone(),
        (None, None) => ModelName::default(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn config_of(variables: &[(&str, &str)]) -> Result<Config, String> {
        let source: HashMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Config::read(&source).map_err(|error| error.to_string())
    }

    fn model_of(variables: &[(&str, &str)]) -> Result<String, String> {
        Ok(config_of(variables)?.model.into())
    }

    #[test]
    fn a_tenth_of_the_jobs_is_shadowed_unless_another_share_is_set() {
        let shadow_of =
            |variables: &[(&str, &str)]| config_of(variables).map(|config| config.shadow);
        let shadow = |share| Some(ShadowConfig { model: "b".parse().unwrap(), share });
        assert_eq!(shadow_of(&[("SHADOW_SHARE", "1")]), Ok(None));
        assert_eq!(shadow_of(&[("SHADOW_MODEL", "b")]), Ok(shadow(0.1)));
        let all = [("SHADOW_MODEL", "b"), ("SHADOW_SHARE", "1")];
        assert_eq!(shadow_of(&all), Ok(shadow(1.0)));
        for bad in ["1.1", "-0.1", "NaN", "ten"] {
            let error = shadow_of(&[("SHADOW_SHARE", bad)]).unwrap_err();
            assert!(error.contains("SHADOW_SHARE"), "{bad}: {error}");
        }
    }

    #[test]
    fn the_model_that_is_loaded_first_is_one_of_those_that_are_served() {
        let cases = [
            (&[][..], "yolov8n"),
            (&[("MODEL", "a")], "a"),
            (&[("MODELS", "b, a")], "b"),
            (&[("MODELS", "b,a"), ("MODEL", "a")], "a"),
        ];
        for (variables, expected) in cases {
            assert_eq!(model_of(variables).as_deref(), Ok(expected), "{variables:?}");
        }
        let error = model_of(&[("MODELS", "b,a"), ("MODEL", "c")]).unwrap_err();
        assert!(error.contains("MODEL") && error.contains("'c' is not one of MODELS"), "{error}");
        assert!(model_of(&[("MODELS", "b,,a")]).unwrap_err().contains("MODELS"));
    }
}
