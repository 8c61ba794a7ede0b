//! A model loaded by ONNX Runtime, and its runs.

use std::num::NonZero;

use ort::{
    ep::{self, ExecutionProviderDispatch, cuda::ConvAlgorithmSearch},
    logging::LogLevel,
    session::{
        Session, SessionOutputs,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::TensorRef,
};

use super::{
    canceller::Canceller,
    error::{OnnxRuntimeError, OrtError},
    library::OnnxRuntime,
    provider::ExecutionProvider,
    shared_weights::SharedWeights,
};
use crate::{
    error::DetectError,
    tensor::{InputBatch, OutputView},
};

/// How a model is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// The execution provider.
    pub provider: ExecutionProvider,
    /// The threads of one run.
    pub threads: NonZero<usize>,
}

impl Default for SessionOptions {
    /// One CPU thread. One session per core with one thread each has the highest throughput; more
    /// threads have a lower latency.
    fn default() -> Self {
        Self { provider: ExecutionProvider::Cpu, threads: NonZero::<usize>::MIN }
    }
}

/// A loaded model.
#[derive(Debug)]
pub(crate) struct InferenceSession {
    session: Session,
    /// Never called: for runs that are not stopped.
    uncancelled: Canceller,
    /// For runs that may fail: ONNX Runtime logs nothing.
    quiet: Canceller,
    /// The batch size, where the graph has a fixed one.
    batch: Option<usize>,
}

impl InferenceSession {
    /// Loads a model from the bytes of an ONNX file.
    pub(crate) fn load(
        runtime: &OnnxRuntime,
        model: &[u8],
        options: &SessionOptions,
    ) -> Result<Self, OnnxRuntimeError> {
        let session = builder(runtime, options)?.commit_from_memory(model);
        Self::around(session.map_err(|error| failed(runtime, options.provider, error.into()))?)
    }

    /// As [`InferenceSession::load`], of a model that may be rejected: ONNX Runtime logs nothing, and the
    /// caller gets the error.
    pub(crate) fn load_quietly(
        runtime: &OnnxRuntime,
        model: &[u8],
    ) -> Result<Self, OnnxRuntimeError> {
        let builder = builder(runtime, &SessionOptions::default())?;
        let mut builder = builder.with_log_level(LogLevel::Fatal).map_err(ort::Error::from)?;
        Self::around(builder.commit_from_memory(model)?)
    }

    /// A further session of a model whose weights are in memory.
    pub(crate) fn sharing(
        runtime: &OnnxRuntime,
        weights: &SharedWeights,
        options: &SessionOptions,
    ) -> Result<Self, OnnxRuntimeError> {
        Self::around(weights.session(builder(runtime, options)?)?)
    }

    fn around(session: Session) -> Result<Self, OnnxRuntimeError> {
        let input = session.inputs().first();
        let shape = input.and_then(|input| input.dtype().tensor_shape());
        let batch = shape.and_then(|shape| usize::try_from(*shape.first()?).ok());
        let batch = batch.filter(|batch| *batch > 0);
        let (uncancelled, quiet) = (Canceller::new()?, Canceller::quiet()?);
        Ok(Self { session, uncancelled, quiet, batch })
    }

    /// The batch size that the graph requires; `None` for any.
    pub(crate) fn fixed_batch(&self) -> Option<usize> {
        self.batch
    }

    /// The outputs' names, in the order of [`Outputs::views`].
    pub(crate) fn output_names(&self) -> impl Iterator<Item = &str> {
        self.session.outputs().iter().map(|output| output.name())
    }

    /// Runs the model on `input`, unless `canceller` stops it. For a graph with a larger fixed batch, black
    /// pictures are added to `input`, and the outputs include theirs.
    pub(crate) fn run<'s>(
        &'s mut self,
        input: &InputBatch<'_>,
        canceller: Option<&'s Canceller>,
    ) -> Result<Outputs<'s>, DetectError> {
        let canceller = canceller.unwrap_or(&self.uncancelled);
        run(&mut self.session, self.batch, input, canceller)
    }

    /// As [`InferenceSession::run`], of a run that may fail: ONNX Runtime logs nothing.
    pub(crate) fn run_quietly(
        &mut self,
        input: &InputBatch<'_>,
    ) -> Result<Outputs<'_>, DetectError> {
        run(&mut self.session, self.batch, input, &self.quiet)
    }
}

fn run<'s>(
    session: &'s mut Session,
    batch: Option<usize>,
    input: &InputBatch<'_>,
    canceller: &'s Canceller,
) -> Result<Outputs<'s>, DetectError> {
    let failed = |error: ort::Error| {
        if canceller.is_cancelled() {
            DetectError::Cancelled
        } else {
            DetectError::Inference(error.into())
        }
    };
    let padded;
    let (pictures, data) = match batch {
        Some(batch) if batch > input.pictures => {
            padded = input.padded_to(batch);
            (batch, &padded[..])
        }
        _ => (input.pictures, input.data),
    };
    let shape = [pictures, 3, input.height, input.width];
    let tensor = TensorRef::from_array_view((shape, data)).map_err(failed)?;
    let values =
        session.run_with_options(ort::inputs![tensor], canceller.options()).map_err(failed)?;
    Ok(Outputs { values })
}

/// A session builder with all options set.
///
/// # Errors
/// [`OnnxRuntimeError::ProviderFailed`] when the execution provider does not work on this machine.
pub(crate) fn builder(
    runtime: &OnnxRuntime,
    options: &SessionOptions,
) -> Result<SessionBuilder, OnnxRuntimeError> {
    let builder = builder_without_provider(runtime, options)?;
    builder
        .with_execution_providers(registered(options))
        .map_err(|error| failed(runtime, options.provider, ort::Error::from(error).into()))
}

/// What a failure of an installed model on `provider` means. The model ran on the CPU when it was installed, so it
/// is another provider that does not work.
pub(crate) fn failed(
    runtime: &OnnxRuntime,
    provider: ExecutionProvider,
    source: OrtError,
) -> OnnxRuntimeError {
    let path = runtime.library().to_owned();
    match provider {
        ExecutionProvider::Cpu => OnnxRuntimeError::Failed(source),
        provider => OnnxRuntimeError::ProviderFailed { path, provider, source },
    }
}

/// The execution providers that a session registers, by priority. A failure of any is an error:
/// otherwise the model would run on the CPU, and only its latency would show it.
fn registered(options: &SessionOptions) -> Vec<ExecutionProviderDispatch> {
    let providers = match options.provider {
        // Always present; it is not registered.
        ExecutionProvider::Cpu => Vec::new(),
        ExecutionProvider::OpenVino => {
            let openvino = ep::OpenVINO::default().with_device_type("CPU");
            vec![openvino.with_num_threads(options.threads.get()).build()]
        }
        ExecutionProvider::Cuda => vec![cuda().build()],
        ExecutionProvider::TensorRt => vec![ep::TensorRT::default().build(), cuda().build()],
    };
    providers.into_iter().map(ExecutionProviderDispatch::error_on_failure).collect()
}

/// A session plans all its convolutions again whenever the shape of its input changes. Searching by heuristics takes
/// a fifth of the time of the default, which tries algorithms out; the runs then take as long.
fn cuda() -> ep::CUDA {
    ep::CUDA::default().with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
}

fn builder_without_provider(
    runtime: &OnnxRuntime,
    options: &SessionOptions,
) -> ort::Result<SessionBuilder> {
    Ok(Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(options.threads.get())?
        // Long enough for the gap between two operators, where sleeping and waking up would take a tenth of
        // the run, and short enough to leave the core to others.
        .with_intra_op_spinning(true)?
        .with_config_entry("session.intra_op.spin_duration_us", "20")?
        // Libraries without that option spin longer, but no longer than the run.
        .with_config_entry("session.force_spinning_stop", "1")?)
}

/// The outputs of a run, in ONNX Runtime's memory.
pub(crate) struct Outputs<'s> {
    values: SessionOutputs<'s>,
}

impl Outputs<'_> {
    /// Views of the outputs, in the model's order.
    pub(crate) fn views(&self) -> Result<Vec<OutputView<'_>>, DetectError> {
        (0..self.values.len())
            .map(|place| {
                let (shape, data) = self.values[place]
                    .try_extract_tensor::<f32>()
                    .map_err(|error| DetectError::Inference(error.into()))?;
                Ok(OutputView { shape, data })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensorrt_has_cuda_behind_it_and_the_cpu_needs_nothing() {
        let names = |provider: ExecutionProvider| -> Vec<&str> {
            let options = SessionOptions { provider, ..SessionOptions::default() };
            registered(&options).iter().map(ExecutionProviderDispatch::name).collect()
        };
        assert!(names(ExecutionProvider::Cpu).is_empty());
        assert_eq!(names(ExecutionProvider::OpenVino), ["OpenVINOExecutionProvider"]);
        assert_eq!(names(ExecutionProvider::Cuda), ["CUDAExecutionProvider"]);
        let tensorrt = ["TensorrtExecutionProvider", "CUDAExecutionProvider"];
        assert_eq!(names(ExecutionProvider::TensorRt), tensorrt);
    }

    #[test]
    fn convolutions_on_cuda_are_planned_by_heuristics() {
        let options = format!("{:?}", cuda());
        assert!(options.contains("cudnn_conv_algo_search\": \"HEURISTIC"), "{options}");
    }
}
