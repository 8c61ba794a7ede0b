//! A model in memory: what pictures are prepared by, and the detectors that run them.

use std::{
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use detector::{
    Detector, ModelBundle, ModelError, ModelInput, Preprocessor, SessionOptions, SharedModel,
};
use domain::{LabelMap, Sha256Digest, picture::PictureLimits};
use parking_lot::Mutex;

use super::{
    planned::{PlannedDetectors, Size},
    run_times::RunTimes,
};
use crate::{cores::Parallelism, inference::InferenceError};

/// What a session allocates for its runs, for each pixel of the model's input.
const SESSION_BYTES_PER_PIXEL: u64 = 100;

/// A slot of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotId {
    /// One that runs jobs, by its number from 0.
    Jobs(usize),
    /// The one that runs shadow jobs.
    Shadow,
}

impl SlotId {
    pub(crate) fn thread_name(self) -> String {
        match self {
            Self::Jobs(number) => format!("slot-{number}"),
            Self::Shadow => "shadow".to_owned(),
        }
    }
}

/// A run: the slot that makes it, and its pictures, all of one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunShape {
    pub(crate) slot: SlotId,
    pub(crate) parallelism: Parallelism,
    pub(crate) size: Size,
    pub(crate) pictures: usize,
}

/// One version of an installed model, in memory. A job holds it from the preparation of its picture to its detections,
/// so labels, input, detector and digest are always those of the same version.
pub(crate) struct LoadedModel {
    bundle: ModelBundle,
    preprocessor: Preprocessor,
    detectors: Detectors,
    /// The most pictures of one run.
    max_batch: usize,
    file_bytes: u64,
    run_times: Arc<RunTimes>,
}

/// The detectors of a model.
pub(super) enum Detectors {
    /// On a CPU.
    Slots(Box<SlotDetectors>),
    /// On a GPU, those of all slots.
    Planned(PlannedDetectors<Detector>),
}

/// What a load of a model gives besides its detectors.
pub(super) struct LoadedParts {
    pub(super) bundle: ModelBundle,
    pub(super) limits: PictureLimits,
    /// The most pictures of one run.
    pub(super) max_batch: usize,
    /// The size of the model's file.
    pub(super) file_bytes: u64,
    pub(super) run_times: Arc<RunTimes>,
}

impl LoadedModel {
    pub(super) fn new(parts: LoadedParts, detectors: Detectors) -> Self {
        let LoadedParts { bundle, limits, max_batch, file_bytes, run_times } = parts;
        let preprocessor = bundle.preprocessor(limits);
        Self { bundle, preprocessor, detectors, max_batch, file_bytes, run_times }
    }

    pub(crate) fn bundle(&self) -> &ModelBundle {
        &self.bundle
    }

    pub(crate) fn digest(&self) -> Sha256Digest {
        self.bundle.digest()
    }

    pub(crate) fn labels(&self) -> &LabelMap {
        self.bundle.labels()
    }

    pub(crate) fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    /// The most pictures of one run.
    pub(crate) fn max_batch(&self) -> usize {
        self.max_batch
    }

    pub(crate) fn run_times(&self) -> &RunTimes {
        &self.run_times
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let sessions = match &self.detectors {
            Detectors::Slots(slots) => slots.sessions.load(Ordering::Relaxed),
            Detectors::Planned(planned) => planned.count() as u64,
        };
        self.file_bytes + sessions * session_bytes(&self.bundle)
    }

    /// Runs `work` with a detector of this model, made if need be, on as many cores as the run's parallelism gives.
    /// `work` also gets the number of pictures of each run.
    ///
    /// # Errors
    /// Those of `work`; [`ModelError`] if ONNX Runtime makes no further session.
    pub(crate) fn with<T>(
        &self,
        run: &RunShape,
        work: impl FnOnce(&mut Detector, usize) -> Result<T, InferenceError>,
    ) -> Result<T, InferenceError> {
        match &self.detectors {
            Detectors::Planned(planned) => planned.with(run.size, run.pictures, work),
            Detectors::Slots(slots) => slots.with(run, |detector| work(detector, run.pictures)),
        }
    }
}

/// The detectors of a model on a CPU: one for each slot, also that of shadow runs, and one on all cores for a job beside
/// which no other runs or waits. Only the slot itself locks its own, so no slot waits for another.
pub(super) struct SlotDetectors {
    shared: SharedModel,
    options: SessionOptions,
    /// The first one, until a slot needs it.
    spare: Mutex<Option<Detector>>,
    slots: Box<[Mutex<Option<Detector>>]>,
    /// That of shadow runs, which no job waits for.
    shadow: Mutex<Option<Detector>>,
    /// With its threads; `None` if a slot has as many.
    wide: Option<(NonZero<usize>, Mutex<Option<Detector>>)>,
    /// How many detectors there are.
    sessions: AtomicU64,
}

impl SlotDetectors {
    /// With one of them, `first`. `wide` is how many cores the one on all cores has.
    pub(super) fn new(
        shared: SharedModel,
        options: SessionOptions,
        first: Detector,
        slots: NonZero<usize>,
        wide: Option<NonZero<usize>>,
    ) -> Self {
        Self {
            shared,
            options,
            spare: Mutex::new(Some(first)),
            slots: (0..slots.get()).map(|_| Mutex::default()).collect(),
            shadow: Mutex::default(),
            wide: wide.map(|threads| (threads, Mutex::default())),
            sessions: AtomicU64::new(1),
        }
    }

    fn with<T>(
        &self,
        run: &RunShape,
        work: impl FnOnce(&mut Detector) -> Result<T, InferenceError>,
    ) -> Result<T, InferenceError> {
        // Another slot may use it.
        if run.parallelism == Parallelism::AllCores
            && let Some((threads, wide)) = &self.wide
            && let Some(mut wide) = wide.try_lock()
        {
            return work(made(&mut wide, || self.make(*threads))?);
        }
        let place = match run.slot {
            SlotId::Jobs(number) => self.slots.get(number).ok_or(InferenceError::SlotEnded)?,
            SlotId::Shadow => &self.shadow,
        };
        work(made(&mut place.lock(), || self.for_a_slot())?)
    }

    /// Makes those that are not there yet.
    ///
    /// # Errors
    /// [`ModelError`] if ONNX Runtime makes no further session.
    pub(super) fn make_all(&self) -> Result<(), ModelError> {
        for slot in &self.slots {
            made(&mut slot.lock(), || self.for_a_slot())?;
        }
        if let Some((threads, wide)) = &self.wide {
            made(&mut wide.lock(), || self.make(*threads))?;
        }
        Ok(())
    }

    fn for_a_slot(&self) -> Result<Detector, ModelError> {
        let spare = self.spare.lock().take();
        spare.map_or_else(|| self.make(self.options.threads), Ok)
    }

    fn make(&self, threads: NonZero<usize>) -> Result<Detector, ModelError> {
        let detector = self.shared.detector(&SessionOptions { threads, ..self.options })?;
        self.sessions.fetch_add(1, Ordering::Relaxed);
        Ok(detector)
    }
}

/// The detector in `place`, made if there is none.
fn made(
    place: &mut Option<Detector>,
    make: impl FnOnce() -> Result<Detector, ModelError>,
) -> Result<&mut Detector, ModelError> {
    match place {
        Some(detector) => Ok(detector),
        None => Ok(place.insert(make()?)),
    }
}

/// About how many bytes a session of the model of `bundle` allocates for its runs.
pub(super) fn session_bytes(bundle: &ModelBundle) -> u64 {
    let (width, height) = match bundle.manifest().input {
        ModelInput::Dynamic { long_side, .. } => (long_side, long_side),
        ModelInput::Fixed { width, height } => (width, height),
    };
    SESSION_BYTES_PER_PIXEL * u64::from(width) * u64::from(height)
}
