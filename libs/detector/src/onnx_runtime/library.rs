//! Loading ONNX Runtime's shared library, once per process.

use std::{
    io,
    path::{Path, PathBuf},
};

use ort::{
    environment::Environment,
    ep::{self, ExecutionProvider as _},
};
use parking_lot::Mutex;

use super::{
    canceller::Canceller,
    error::{OnnxRuntimeError, OrtError},
    provider::ExecutionProvider,
};

/// ONNX Runtime, loaded into this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OnnxRuntime {
    pub(super) environment: Environment,
    library: PathBuf,
}

/// `ort` builds its environment once per process, so it is kept until the process ends.
static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

impl OnnxRuntime {
    /// Loads the shared library of ONNX Runtime, version 1.24 or later, from the file `library`.
    ///
    /// A process has one library: loading the same file again returns the same runtime.
    ///
    /// # Errors
    /// [`OnnxRuntimeError`] when the file is missing, is not ONNX Runtime or is too old, or when the
    /// process has loaded another file.
    pub fn load(library: &Path) -> Result<Self, OnnxRuntimeError> {
        Self::load_with(library, ExecutionProvider::Cpu)
    }

    /// As [`OnnxRuntime::load`], and checks that the library was built with `provider`.
    ///
    /// # Errors
    /// As [`OnnxRuntime::load`], and [`OnnxRuntimeError::NoProvider`]. A provider that does not work on
    /// this machine fails only when a model is loaded.
    pub fn load_with(
        library: &Path,
        provider: ExecutionProvider,
    ) -> Result<Self, OnnxRuntimeError> {
        let runtime = Self::load_library(library, provider)?;
        if is_built_in(provider)? {
            return Ok(runtime);
        }
        Err(OnnxRuntimeError::NoProvider { path: runtime.library, provider })
    }

    fn load_library(library: &Path, provider: ExecutionProvider) -> Result<Self, OnnxRuntimeError> {
        // `ort` resolves a relative path from the executable's folder. An absolute path also shows that
        // two paths are the same file, such as a link to a version.
        let path = library.canonicalize().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => {
                OnnxRuntimeError::Missing { path: library.to_owned(), provider }
            }
            _ => OnnxRuntimeError::Unreadable { path: library.to_owned(), source },
        })?;
        let mut loaded = LOADED.lock();
        if let Some(runtime) = &*loaded {
            return if runtime.library == path {
                Ok(runtime.clone())
            } else {
                Err(OnnxRuntimeError::AnotherLoaded { path, loaded: runtime.library.clone() })
            };
        }
        let unusable = |source: OrtError| OnnxRuntimeError::Unusable { path: path.clone(), source };
        let environment = ort::init_from(&path)
            .map_err(|error| unusable(error.into()))?
            .with_name("spotter")
            .with_telemetry(false)
            .build()
            .map_err(|error| unusable(error.into()))?;
        let runtime = Self { environment, library: path };
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    /// The library's file, with links resolved.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// A canceller for one run.
    ///
    /// # Errors
    /// [`OnnxRuntimeError::Failed`] when ONNX Runtime is out of memory.
    pub fn canceller(&self) -> Result<Canceller, OnnxRuntimeError> {
        Canceller::new()
    }
}

/// Whether the library that this process has loaded was built with `provider`.
fn is_built_in(provider: ExecutionProvider) -> Result<bool, OnnxRuntimeError> {
    let found = match provider {
        ExecutionProvider::Cpu => Ok(true),
        ExecutionProvider::OpenVino => ep::OpenVINO::is_available(),
        ExecutionProvider::Cuda => ep::CUDA::is_available(),
        ExecutionProvider::TensorRt => ep::TensorRT::is_available(),
    };
    Ok(found?)
}
