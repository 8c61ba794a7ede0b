//! Loading installed models.

use std::{collections::BTreeMap, fs, num::NonZero, path::PathBuf, sync::Arc};

use detector::{
    Detector, ExecutionProvider, ModelBundle, ModelError, OnnxRuntime, SessionOptions, SharedModel,
};
use domain::{ModelName, ModelNames, picture::PictureLimits};
use service::lifecycle::failpoints;

use super::{
    loaded::{Detectors, LoadedModel, LoadedParts, SlotDetectors, session_bytes},
    planned::PlannedDetectors,
    run_times::RunTimes,
};

/// Which detectors a load makes before any picture needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prepare {
    /// One, which shows that the model runs. The others are made when a slot first needs one.
    One,
    /// One for each slot, and the one on all cores: no picture waits for them.
    All,
}

/// Loads installed models.
#[derive(Clone)]
pub(crate) struct ModelLoader {
    pub(crate) runtime: OnnxRuntime,
    pub(crate) models_dir: PathBuf,
    /// The provider, and the threads of a slot.
    pub(crate) options: SessionOptions,
    pub(crate) slots: NonZero<usize>,
    /// All cores of the machine.
    pub(crate) cores: NonZero<usize>,
    /// The largest batch, for models that take batches.
    pub(crate) max_batch: NonZero<usize>,
    /// The most sessions of a model on a GPU.
    pub(crate) gpu_sessions: NonZero<usize>,
    /// The limits of pictures.
    pub(crate) limits: PictureLimits,
}

impl ModelLoader {
    /// The description of an installed model.
    ///
    /// # Errors
    /// [`ModelError`] if it is not installed or its description is damaged.
    pub(crate) fn bundle(&self, name: &ModelName) -> Result<ModelBundle, ModelError> {
        ModelBundle::load(&self.models_dir.join(name.as_str()))
    }

    /// The models of `wanted`, or all, that have a folder, or why they cannot be used.
    ///
    /// # Errors
    /// [`ModelError::Read`] if the folder of models cannot be read.
    pub(crate) fn installed(
        &self,
        wanted: Option<&ModelNames>,
    ) -> Result<BTreeMap<ModelName, Result<ModelBundle, ModelError>>, ModelError> {
        // A volume that is not there at the moment is no folder without models.
        fs::metadata(&self.models_dir).map_err(|source| {
            let path = self.models_dir.clone();
            ModelError::Read { path, source }
        })?;
        let listed = ModelBundle::list(&self.models_dir)?.into_iter();
        let named = listed.filter_map(|listed| {
            let name: ModelName = listed.dir.file_name()?.to_str()?.parse().ok()?;
            let is_wanted = wanted.is_none_or(|wanted| wanted.contains(&name));
            is_wanted.then_some((name, listed.bundle))
        });
        Ok(named.collect())
    }

    /// Loads the model of `bundle`, whose runs are recorded in `run_times`.
    ///
    /// # Errors
    /// [`ModelError`] if it was changed since it was installed, or does not run.
    pub(crate) fn load(
        &self,
        bundle: ModelBundle,
        run_times: Arc<RunTimes>,
        prepare: Prepare,
    ) -> Result<LoadedModel, ModelError> {
        let shared = SharedModel::load(&self.runtime, &bundle, self.options.provider)?;
        if let Some(why) = shared.why_not_shared() {
            tracing::warn!(model = %bundle.name(), %why, "each slot has a copy of the model's weights");
        }
        failpoints::reach("worker-loading");
        let mut first = shared.detector(&self.options)?;
        let max_batch = self.batch_size(&bundle, &shared, &mut first)?;
        let file_bytes = shared.file_bytes();
        let detectors = if self.options.provider.is_gpu() {
            Detectors::Planned(self.on_gpu(shared, first, prepare, max_batch)?)
        } else {
            Detectors::Slots(Box::new(self.on_cpu(shared, first, prepare)?))
        };
        let limits = self.limits;
        let parts = LoadedParts { bundle, limits, max_batch, file_bytes, run_times };
        Ok(LoadedModel::new(parts, detectors))
    }

    /// How many bytes of memory the model of `bundle` will take when it has been loaded, with one session.
    pub(crate) fn expected_bytes(&self, bundle: &ModelBundle) -> u64 {
        let weights = bundle.model_path().metadata().map_or(0, |file| file.len());
        weights + session_bytes(bundle)
    }

    fn on_cpu(
        &self,
        shared: SharedModel,
        first: Detector,
        prepare: Prepare,
    ) -> Result<SlotDetectors, ModelError> {
        let wide = (self.options.threads < self.cores).then_some(self.cores);
        let detectors = SlotDetectors::new(shared, self.options, first, self.slots, wide);
        if prepare == Prepare::All {
            detectors.make_all()?;
        }
        Ok(detectors)
    }

    /// As many detectors as there are slots, or one, and more when they are needed.
    fn on_gpu(
        &self,
        shared: SharedModel,
        first: Detector,
        prepare: Prepare,
        max_batch: usize,
    ) -> Result<PlannedDetectors<Detector>, ModelError> {
        let options = self.options;
        let mut loaded = vec![first];
        if prepare == Prepare::All {
            for _ in 1..self.slots.get() {
                loaded.push(shared.detector(&options)?);
            }
        }
        let most = self.gpu_sessions.max(self.slots).get();
        Ok(PlannedDetectors::new(loaded, most, max_batch, move || shared.detector(&options)))
    }

    /// The configured batch size, if the model takes batches. This runs the model unless it runs on the CPU, one picture
    /// at a time: other providers may load a model and fail in each run.
    fn batch_size(
        &self,
        bundle: &ModelBundle,
        shared: &SharedModel,
        detector: &mut Detector,
    ) -> Result<usize, ModelError> {
        let model = bundle.name();
        let (asked, on_cpu) =
            (self.max_batch.get(), self.options.provider == ExecutionProvider::Cpu);
        if asked == 1 && on_cpu {
            return Ok(1);
        }
        match detector.takes_batches() {
            Ok(true) => Ok(asked),
            Ok(false) => {
                if asked > 1 {
                    tracing::warn!(
                        %model,
                        asked,
                        "MAX_BATCH has no effect: this model takes one picture at a time; export it with a \
                         dynamic batch size"
                    );
                }
                Ok(1)
            }
            Err(error) if on_cpu => {
                tracing::warn!(%model, %error, "MAX_BATCH has no effect: a trial run failed");
                Ok(1)
            }
            Err(error) => Err(shared.trial_failed(error)),
        }
    }
}
