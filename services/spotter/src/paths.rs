//! The paths of models and of ONNX Runtime.

use std::path::PathBuf;

use clap::Args;
use detector::{ExecutionProvider, ModelBundle, OnnxRuntime};
use domain::ModelName;

use crate::error::{CliError, explained};

/// The paths of models and of ONNX Runtime, as options of every command that runs a model.
#[derive(Debug, Clone, Args)]
pub(crate) struct PathsOptions {
    /// The folder of installed models [default: the nearest `models` upwards]
    #[arg(long, value_name = "DIR", env = "MODELS_DIR")]
    pub(crate) models_dir: Option<PathBuf>,
    /// ONNX Runtime's library [default: the one that set-up fetched]
    #[arg(long, value_name = "FILE", env = "ORT_DYLIB_PATH", hide = true)]
    pub(crate) onnx_runtime: Option<PathBuf>,
}

impl PathsOptions {
    /// The folder of installed models.
    pub(crate) fn models_dir(&self) -> PathBuf {
        self.models_dir.clone().unwrap_or_else(|| worker::nearest(worker::MODELS_DIR))
    }

    /// ONNX Runtime, loaded.
    pub(crate) fn runtime(&self) -> Result<OnnxRuntime, CliError> {
        let library = self.onnx_runtime.clone();
        let fetched_by_setup =
            || worker::nearest(worker::onnx_runtime_with(ExecutionProvider::Cpu));
        Ok(OnnxRuntime::load(&library.unwrap_or_else(fetched_by_setup))?)
    }

    /// An installed model.
    pub(crate) fn bundle(&self, name: &ModelName) -> Result<ModelBundle, CliError> {
        let error = match ModelBundle::load(&self.models_dir().join(name.as_str())) {
            Ok(bundle) => return Ok(bundle),
            Err(error) => error,
        };
        let installed: Vec<String> = ModelBundle::list(&self.models_dir())?
            .into_iter()
            .filter_map(|model| Some(model.bundle.ok()?.name().to_string()))
            .collect();
        if installed.is_empty() {
            return Err(error.into());
        }
        Err(CliError::Usage(format!(
            "{} (installed here: {})",
            explained(&error),
            installed.join(", ")
        )))
    }
}
