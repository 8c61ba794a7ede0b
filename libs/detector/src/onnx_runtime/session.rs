//! ONNX Runtime: loading its library, running a model, stopping a run from outside.

use std::{
    fmt, io,
    num::NonZero,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ort::{
    environment::Environment,
    logging::LogLevel,
    session::{
        RunOptions, Session, SessionOutputs,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::TensorRef,
};

use parking_lot::Mutex;

use crate::{
    error::{DetectError, RuntimeError},
    onnx_runtime::provider::ExecutionProvider,
    onnx_runtime::shared_weights::SharedWeights,
    postprocess::heads::OutputView,
    preprocess::letterbox::InputTensor,
};

/// ONNX Runtime, loaded into this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
}

/// `ort` builds its environment once in a process and never again, so it is kept until the end.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads the shared library of ONNX Runtime, version 1.24 or later, from the file `library`.
    ///
    /// A process holds one library: loading the same file again gives the same runtime.
    ///
    /// # Errors
    /// [`RuntimeError`] when the file is missing, is no ONNX Runtime or too old a one, or when
    /// another file has been loaded before.
    pub fn load(library: &Path) -> Result<Self, RuntimeError> {
        Self::load_with(library, ExecutionProvider::Cpu)
    }

    /// As [`Runtime::load`], and makes sure that the library has `provider`.
    ///
    /// # Errors
    /// As [`Runtime::load`], and [`RuntimeError::NoProvider`]. Whether it works on this machine is
    /// seen when a model is loaded.
    pub fn load_with(library: &Path, provider: ExecutionProvider) -> Result<Self, RuntimeError> {
        let runtime = Self::load_library(library, provider)?;
        if provider.is_built_in()? {
            return Ok(runtime);
        }
        Err(RuntimeError::NoProvider { path: runtime.library, provider })
    }

    fn load_library(library: &Path, provider: ExecutionProvider) -> Result<Self, RuntimeError> {
        // Made absolute here because `ort` takes a relative path from the executable's folder. That
        // also tells two paths to the same file, such as a link to a version, from two files.
        let path = library.canonicalize().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => RuntimeError::Missing { path: library.to_owned(), provider },
            _ => RuntimeError::Unreadable { path: library.to_owned(), source },
        })?;
        let mut loaded = LOADED.lock();
        if let Some(runtime) = &*loaded {
            return if runtime.library == path {
                Ok(runtime.clone())
            } else {
                Err(RuntimeError::AnotherLoaded { path, loaded: runtime.library.clone() })
            };
        }
        let unusable = |detail: String| RuntimeError::Unusable { path: path.clone(), detail };
        let environment = ort::init_from(&path)
            .map_err(|error| unusable(error.to_string()))?
            .with_name("spotter")
            .with_telemetry(false)
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let runtime = Self { environment, library: path };
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    /// The library's file, with links followed.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// What can stop one run; make one for each job.
    ///
    /// # Errors
    /// [`RuntimeError::Failed`] when ONNX Runtime is out of memory.
    pub fn canceller(&self) -> Result<Canceller, RuntimeError> {
        Ok(Canceller::around(RunOptions::new().map_err(failed)?))
    }

    /// As [`Runtime::canceller`], for a run that may well fail: ONNX Runtime logs nothing of it, and whoever
    /// runs it gets the error.
    pub(crate) fn canceller_for_trial(&self) -> Result<Canceller, RuntimeError> {
        let mut options = RunOptions::new().map_err(failed)?;
        options.set_log_level(LogLevel::Fatal).map_err(failed)?;
        Ok(Canceller::around(options))
    }
}

/// Stops a run from another thread, for instance at its deadline. Clones stop the same run.
///
/// It stays called: a run that is started with a called canceller ends at once, so there is no
/// moment at which a call is lost. A run stops between two operators of the model, within
/// milliseconds; a call cannot interrupt an operator that never returns.
#[derive(Clone)]
pub struct Canceller {
    shared: Arc<Cancellation>,
}

struct Cancellation {
    options: RunOptions,
    called: AtomicBool,
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("cancelled", &self.is_cancelled()).finish()
    }
}

impl Canceller {
    fn around(options: RunOptions) -> Self {
        Self { shared: Arc::new(Cancellation { options, called: AtomicBool::new(false) }) }
    }

    /// Stops the run.
    pub fn cancel(&self) {
        self.shared.called.store(true, Ordering::SeqCst);
        // It sets a flag and cannot fail; were it to, the run would end by itself and `infer` would
        // see `called` all the same.
        let _ = self.shared.options.terminate();
    }

    /// Whether [`Canceller::cancel`] was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.shared.called.load(Ordering::SeqCst)
    }
}

/// How a model is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// What runs it.
    pub provider: ExecutionProvider,
    /// The threads that work on one picture.
    pub threads: NonZero<usize>,
}

impl Default for SessionOptions {
    /// One thread of the CPU, for one session per core: the most pictures a second. More threads
    /// answer a single picture sooner.
    fn default() -> Self {
        Self { provider: ExecutionProvider::Cpu, threads: NonZero::<usize>::MIN }
    }
}

/// A model with nothing around it: no decoding of what it gives. A yardstick for everything else.
#[derive(Debug)]
pub struct BareModel {
    session: InferenceSession,
}

impl BareModel {
    /// Loads a model from the bytes of an ONNX file.
    ///
    /// # Errors
    /// [`RuntimeError::Failed`] when ONNX Runtime refuses it.
    pub fn load(
        runtime: &Runtime,
        model: &[u8],
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        Ok(Self { session: InferenceSession::load(runtime, model, options)? })
    }

    /// Runs the model once on `[1, 3, height, width]`.
    ///
    /// # Errors
    /// [`DetectError::Inference`] when ONNX Runtime fails, as for a tensor of another size.
    pub fn run(&mut self, input: &InputTensor) -> Result<(), DetectError> {
        self.session.run(&InputBatch::of(input), None).map(drop)
    }
}

/// Pictures as a model takes them, `[pictures, 3, height, width]`, in memory that lies elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InputBatch<'a> {
    pub(crate) pictures: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) data: &'a [f32],
}

impl<'a> InputBatch<'a> {
    /// A single picture.
    pub(crate) fn of(tensor: &'a InputTensor) -> Self {
        let InputTensor { data, height, width } = tensor;
        Self { pictures: 1, height: *height, width: *width, data }
    }

    /// The values of these pictures and of black ones behind them, `pictures` in all.
    fn filled_up_to(&self, pictures: usize) -> Vec<f32> {
        let mut data = Vec::with_capacity(pictures * 3 * self.height * self.width);
        data.extend_from_slice(self.data);
        data.resize(data.capacity(), 0.0);
        data
    }
}

/// A loaded model.
#[derive(Debug)]
pub(crate) struct InferenceSession {
    session: Session,
    fallback: Canceller,
    /// For runs that may well fail; see [`Runtime::canceller_for_trial`].
    on_trial: Canceller,
    /// How many pictures the graph takes at a time, if it says so.
    batch: Option<usize>,
}

impl InferenceSession {
    /// Loads a model from the bytes of an ONNX file.
    pub(crate) fn load(
        runtime: &Runtime,
        model: &[u8],
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        Self::around(builder(runtime, options)?.commit_from_memory(model).map_err(failed)?, runtime)
    }

    /// As [`InferenceSession::load`], of a model that may well be refused or fail: ONNX Runtime logs nothing
    /// of it, and whoever tries it gets the error.
    pub(crate) fn on_trial(runtime: &Runtime, model: &[u8]) -> Result<Self, RuntimeError> {
        let builder = builder(runtime, &SessionOptions::default())?;
        let mut builder = builder.with_log_level(LogLevel::Fatal).map_err(|e| failed(e.into()))?;
        Self::around(builder.commit_from_memory(model).map_err(failed)?, runtime)
    }

    /// One more session of a model whose weights are in memory already.
    pub(crate) fn sharing(
        runtime: &Runtime,
        weights: &SharedWeights,
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        Self::around(weights.session(builder(runtime, options)?).map_err(failed)?, runtime)
    }

    fn around(session: Session, runtime: &Runtime) -> Result<Self, RuntimeError> {
        let input = session.inputs().first();
        let shape = input.and_then(|input| input.dtype().tensor_shape());
        let batch = shape.and_then(|shape| usize::try_from(*shape.first()?).ok());
        let batch = batch.filter(|batch| *batch > 0);
        let (fallback, on_trial) = (runtime.canceller()?, runtime.canceller_for_trial()?);
        Ok(Self { session, fallback, on_trial, batch })
    }

    /// How many pictures the graph takes at a time, neither more nor fewer; `None` for any number.
    pub(crate) fn fixed_batch(&self) -> Option<usize> {
        self.batch
    }

    /// The outputs' names, in the order of [`Outputs::views`].
    pub(crate) fn output_names(&self) -> impl Iterator<Item = &str> {
        self.session.outputs().iter().map(|output| output.name())
    }

    /// Runs the model on `input` until it ends or `canceller` stops it. A graph that takes more pictures at a
    /// time gets black ones behind those of `input`, and gives outputs for these too.
    pub(crate) fn run<'s>(
        &'s mut self,
        input: &InputBatch<'_>,
        canceller: Option<&'s Canceller>,
    ) -> Result<Outputs<'s>, DetectError> {
        let canceller = canceller.unwrap_or(&self.fallback);
        start(&mut self.session, self.batch, input, canceller)
    }

    /// As [`InferenceSession::run`], of a model that may well fail.
    pub(crate) fn run_on_trial(
        &mut self,
        input: &InputBatch<'_>,
    ) -> Result<Outputs<'_>, DetectError> {
        start(&mut self.session, self.batch, input, &self.on_trial)
    }
}

fn start<'s>(
    session: &'s mut Session,
    batch: Option<usize>,
    input: &InputBatch<'_>,
    canceller: &'s Canceller,
) -> Result<Outputs<'s>, DetectError> {
    let failed = |error: ort::Error| {
        if canceller.is_cancelled() {
            DetectError::Cancelled
        } else {
            DetectError::Inference(error.to_string())
        }
    };
    let filled_up;
    let (pictures, data) = match batch {
        Some(batch) if batch > input.pictures => {
            filled_up = input.filled_up_to(batch);
            (batch, &filled_up[..])
        }
        _ => (input.pictures, input.data),
    };
    let shape = [pictures, 3, input.height, input.width];
    let tensor = TensorRef::from_array_view((shape, data)).map_err(failed)?;
    let values = session
        .run_with_options(ort::inputs![tensor], &canceller.shared.options)
        .map_err(failed)?;
    Ok(Outputs { values })
}

/// A session to be, with everything set but its model.
///
/// # Errors
/// [`RuntimeError::ProviderFailed`] when the execution provider does not work on this machine.
pub(crate) fn builder(
    runtime: &Runtime,
    options: &SessionOptions,
) -> Result<SessionBuilder, RuntimeError> {
    let builder = builder_without_provider(runtime, options).map_err(failed)?;
    let registered = options.provider.registered(options);
    builder.with_execution_providers(registered).map_err(|error| RuntimeError::ProviderFailed {
        path: runtime.library.clone(),
        provider: options.provider,
        detail: error.to_string(),
    })
}

fn failed(error: ort::Error) -> RuntimeError {
    RuntimeError::Failed(error.to_string())
}

fn builder_without_provider(
    runtime: &Runtime,
    options: &SessionOptions,
) -> ort::Result<SessionBuilder> {
    Ok(Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(options.threads.get())?
        // Long enough to span the gap between two operators, in which falling asleep and being woken would
        // cost a tenth of the run, and too short to keep others from the core.
        .with_intra_op_spinning(true)?
        .with_config_entry("session.intra_op.spin_duration_us", "20")?
        // Libraries that do not know the duration yet spin longer, but no longer than the run.
        .with_config_entry("session.force_spinning_stop", "1")?)
}

/// What a run gave, in ONNX Runtime's own memory.
pub(crate) struct Outputs<'s> {
    values: SessionOutputs<'s>,
}

impl Outputs<'_> {
    /// The outputs where they lie, in the order the model has them.
    pub(crate) fn views(&self) -> Result<Vec<OutputView<'_>>, DetectError> {
        (0..self.values.len())
            .map(|place| {
                let (shape, data) = self.values[place]
                    .try_extract_tensor::<f32>()
                    .map_err(|error| DetectError::Inference(error.to_string()))?;
                Ok(OutputView { shape, data })
            })
            .collect()
    }
}
