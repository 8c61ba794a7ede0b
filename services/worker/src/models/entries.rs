//! What a worker knows of each of its models.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use detector::{ModelBundle, ModelError};
use domain::ModelName;
use tokio::sync::watch;

use super::{
    loaded::LoadedModel,
    run_times::{RunSummary, RunTimes},
};

/// A model in memory, or why it is not.
pub(super) type Loaded = Result<Arc<LoadedModel>, Arc<ModelError>>;

/// Gets the outcome of a load.
pub(super) type Loading = watch::Receiver<Option<Loaded>>;

/// All models of a worker.
pub(super) struct Entries {
    pub(super) models: BTreeMap<ModelName, Entry>,
    /// Counts the jobs, as the time of [`Entry::last_use`].
    pub(super) uses: u64,
}

/// One model.
pub(super) struct Entry {
    /// The description that was found last.
    pub(super) bundle: ModelBundle,
    /// No jobs are pulled for a model that is not installed any more; those that have come still run.
    pub(super) is_served: bool,
    pub(super) loaded: Option<Arc<LoadedModel>>,
    /// Gets the outcome of the load in progress.
    pub(super) loading: Option<Loading>,
    pub(super) failed: Option<(Instant, Arc<ModelError>)>,
    pub(super) last_use: u64,
    pub(super) run_times: Arc<RunTimes>,
}

/// A model as the worker serves it.
#[derive(Debug, Clone)]
pub(crate) struct ServedModel {
    pub(crate) bundle: ModelBundle,
    /// How many bytes it takes in memory; `None` if it is not there.
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) runs: RunSummary,
}

impl Entry {
    pub(super) fn new(bundle: ModelBundle) -> Self {
        Self {
            bundle,
            is_served: true,
            loaded: None,
            loading: None,
            failed: None,
            last_use: 0,
            run_times: Arc::default(),
        }
    }

    /// The version that a job gets: while a replacement is loaded, the one before.
    pub(super) fn served_bundle(&self) -> &ModelBundle {
        self.loaded.as_ref().map_or(&self.bundle, |loaded| loaded.bundle())
    }

    pub(super) fn served_model(&self) -> ServedModel {
        ServedModel {
            bundle: self.served_bundle().clone(),
            memory_bytes: self.loaded.as_ref().map(|loaded| loaded.memory_bytes()),
            runs: self.run_times.summary(),
        }
    }
}

impl Entries {
    /// The models that jobs are pulled for.
    pub(super) fn served(&self) -> impl Iterator<Item = (&ModelName, &Entry)> {
        self.models.iter().filter(|(_, entry)| entry.is_served)
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let loaded = self.models.values().filter_map(|entry| entry.loaded.as_ref());
        loaded.map(|model| model.memory_bytes()).sum()
    }

    /// Takes the model out of memory that was not used for longest and that nobody else holds. Jobs get a model only
    /// under the lock of the entries, so it is not used meanwhile.
    pub(super) fn take_least_used(
        &mut self,
        keep: Option<&ModelName>,
    ) -> Option<(ModelName, Arc<LoadedModel>)> {
        let is_unused = |entry: &Entry| {
            entry.loaded.as_ref().is_some_and(|model| Arc::strong_count(model) == 1)
        };
        let models = self.models.iter_mut().filter(|(name, _)| Some(*name) != keep);
        let unused = models.filter(|(_, entry)| is_unused(entry));
        let (name, entry) = unused.min_by_key(|(_, entry)| entry.last_use)?;
        Some((name.clone(), entry.loaded.take()?))
    }
}
