//! Loops in this process, without a queue: the baselines.

use std::{
    fs,
    num::NonZero,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use detector::{
    BareModel, Detector, ModelBundle, OnnxRuntime, PreprocessedPicture, Preprocessor,
    SessionOptions, StageTimings,
    onnx::{OnnxModel, at_size::at_size},
    tensor::InputTensor,
};
use domain::{DetectionSettings, ModelName, picture::PictureLimits};

use crate::error::CliError;

/// One picture, and a model with a thread of its own for each slot.
pub(crate) struct Loops {
    picture: Vec<u8>,
    /// The picture as the model's input.
    tensor: InputTensor,
    /// The original export; `None` if its file is missing or cannot be resized.
    plain: Option<Vec<BareModel>>,
    cut: Vec<BareModel>,
    detectors: Vec<WholePipeline>,
    /// Another model in the same loop.
    counterpart: Option<(ModelName, Vec<WholePipeline>)>,
    /// A model that uses every core for one picture.
    alone: BareModel,
}

/// The result of a loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ran {
    pub(crate) pictures: usize,
    pub(crate) per_second: f64,
}

impl Loops {
    /// Loads `bundle` for `slots` threads, and `plain`, the file it was installed from, beside it.
    pub(crate) fn load(
        runtime: &OnnxRuntime,
        bundle: &ModelBundle,
        plain: &Path,
        picture: Vec<u8>,
        slots: NonZero<usize>,
    ) -> Result<Self, CliError> {
        let one_thread = SessionOptions::default();
        let cores = worker::cores::all();
        let all_threads = SessionOptions { threads: cores, ..one_thread };
        let detectors = pipelines(runtime, bundle, slots)?;
        let prepared = bundle.preprocessor(PictureLimits::default()).preprocess(&picture);
        let tensor = prepared.map_err(|error| CliError::Usage(error.to_string()))?.tensor;
        let path = bundle.model_path();
        let model = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        let bare = |model: &[u8]| -> Result<Vec<BareModel>, CliError> {
            let each = (0..slots.get()).map(|_| BareModel::load(runtime, model, &one_thread));
            Ok(each.collect::<Result<_, _>>()?)
        };
        let plain = plain_at(plain, &tensor).map(|model| bare(&model)).transpose()?;
        let alone = BareModel::load(runtime, &model, &all_threads)?;
        let (cut, counterpart) = (bare(&model)?, None);
        Ok(Self { picture, tensor, plain, cut, detectors, counterpart, alone })
    }

    /// The size of the input tensor, width and height in pixels.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.tensor.width, self.tensor.height)
    }

    /// The original export on a prepared tensor.
    pub(crate) fn plain(&mut self, time: Duration) -> Option<Ran> {
        let tensor = &self.tensor;
        let plain = self.plain.as_mut()?;
        Some(run_each(plain, time, |model| model.run(tensor).is_ok()))
    }

    /// The installed graph on a prepared tensor.
    pub(crate) fn cut(&mut self, time: Duration) -> Ran {
        let tensor = &self.tensor;
        run_each(&mut self.cut, time, |model| model.run(tensor).is_ok())
    }

    /// The whole pipeline, from bytes to objects.
    pub(crate) fn detector(&mut self, time: Duration) -> Ran {
        let picture = &self.picture;
        run_each(&mut self.detectors, time, |pipeline| pipeline.detect(picture).is_some())
    }

    /// Loads another model for [`Loops::counterpart`].
    pub(crate) fn load_counterpart(
        &mut self,
        runtime: &OnnxRuntime,
        bundle: &ModelBundle,
        slots: NonZero<usize>,
    ) -> Result<(), CliError> {
        self.counterpart = Some((bundle.name().clone(), pipelines(runtime, bundle, slots)?));
        Ok(())
    }

    /// The whole pipeline with the other model, and its name; `None` if none was loaded.
    pub(crate) fn counterpart(&mut self, time: Duration) -> Option<(&ModelName, Ran)> {
        let picture = &self.picture;
        let (name, pipelines) = self.counterpart.as_mut()?;
        let ran = run_each(pipelines, time, |pipeline| pipeline.detect(picture).is_some());
        Some((name, ran))
    }

    /// The latency of one run on every core.
    pub(crate) fn alone(&mut self) -> Duration {
        let started = Instant::now();
        // A failure would show as a latency near 0.
        let _ = self.alone.run(&self.tensor);
        started.elapsed()
    }

    /// The timings of each stage for `times` pictures, one at a time.
    pub(crate) fn stages(&mut self, times: usize) -> Vec<StageTimings> {
        let Some(pipeline) = self.detectors.first_mut() else { return Vec::new() };
        (0..times).filter_map(|_| pipeline.detect(&self.picture)).collect()
    }
}

/// From bytes to objects, reusing buffers as a worker does.
struct WholePipeline {
    preprocessor: Preprocessor,
    used: Option<PreprocessedPicture>,
    detector: Detector,
}

fn pipelines(
    runtime: &OnnxRuntime,
    bundle: &ModelBundle,
    slots: NonZero<usize>,
) -> Result<Vec<WholePipeline>, CliError> {
    let preprocessor = bundle.preprocessor(PictureLimits::default());
    let pipeline = || -> Result<WholePipeline, CliError> {
        let detector = Detector::load(runtime, bundle, &SessionOptions::default())?;
        Ok(WholePipeline { preprocessor: preprocessor.clone(), used: None, detector })
    };
    (0..slots.get()).map(|_| pipeline()).collect()
}

impl WholePipeline {
    fn detect(&mut self, picture: &[u8]) -> Option<StageTimings> {
        let prepared = match self.used.take() {
            Some(used) => self.preprocessor.preprocess_reusing(picture, used),
            None => self.preprocessor.preprocess(picture),
        };
        let prepared = prepared.ok()?;
        let found = self.detector.detect(&prepared, &DetectionSettings::default());
        self.used = Some(prepared);
        found.ok().map(|found| found.timings)
    }
}

/// Repeats `once` on each slot's own thread for `time`.
fn run_each<T: Send>(slots: &mut [T], time: Duration, once: impl Fn(&mut T) -> bool + Sync) -> Ran {
    let (once, started) = (&once, Instant::now());
    let counted: Vec<(usize, f64)> = thread::scope(|scope| {
        let spawn = |slot| scope.spawn(move || count(slot, started, time, once));
        let threads: Vec<_> = slots.iter_mut().map(spawn).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    // Each thread over its own time: the last picture of another one does not count.
    let per_second = counted.iter().map(|(pictures, seconds)| *pictures as f64 / seconds).sum();
    Ran { pictures: counted.iter().map(|(pictures, _)| pictures).sum(), per_second }
}

fn count<T>(
    slot: &mut T,
    started: Instant,
    time: Duration,
    once: &impl Fn(&mut T) -> bool,
) -> (usize, f64) {
    let mut pictures = 0;
    while started.elapsed() < time && once(slot) {
        pictures += 1;
    }
    (pictures, started.elapsed().as_secs_f64())
}

/// The original export for pictures of the tensor's size.
fn plain_at(path: &Path, tensor: &InputTensor) -> Option<Vec<u8>> {
    let model = OnnxModel::parse(fs::read(path).ok()?).ok()?;
    let (width, height) = (u32::try_from(tensor.width).ok()?, u32::try_from(tensor.height).ok()?);
    at_size(&model, width, height).ok().map(|model| model.to_bytes())
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::Usage(format!("{} cannot be read: {error}", path.display()))
}
