//! The models that a worker serves, and which of them are in memory.
//!
//! A model is loaded when a job first asks for it, once for all jobs that wait for it, while others run. Beyond the
//! budget the least recently used one that no job holds is dropped. Jobs hold the version that they were given, so a
//! model that is dropped or replaced stays until the last of them has its detections.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use detector::{ModelBundle, ModelError};
use domain::{ModelName, ModelNames, Sha256Digest};
use messaging::ModelStatus;
use parking_lot::Mutex;
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    entries::{Entries, Entry, Loaded, Loading, ServedModel},
    loaded::LoadedModel,
    loader::{ModelLoader, Prepare},
    run_times::RunTimes,
};
use crate::{
    inference::InferenceError,
    metrics::{LoadOutcome, WorkerMetrics},
};

/// How long jobs of a model that cannot be loaded fail without another try.
const RETRY_LOAD: Duration = Duration::from_secs(10);

/// How often a load is tried again because the model was installed again meanwhile.
const MOST_CHANGES: usize = 3;

/// Which models a worker serves, and how many it keeps in memory.
pub(crate) struct CacheRules {
    /// The models to serve, if they are installed; `None` for all.
    pub(crate) wanted: Option<ModelNames>,
    /// The model that is loaded at the start.
    pub(crate) first: ModelName,
    /// About the most bytes of memory that models take, unless more of them are in use.
    pub(crate) budget: u64,
}

/// The models of a worker.
pub(crate) struct ModelCache {
    loader: ModelLoader,
    /// The models to serve, if they are installed; `None` for all.
    wanted: Option<ModelNames>,
    budget: u64,
    metrics: WorkerMetrics,
    entries: Mutex<Entries>,
    /// Told of every change of the models that are served, and of their versions.
    changes: watch::Sender<()>,
}

/// What a job finds.
enum Found {
    Loaded(Arc<LoadedModel>),
    Loading(Loading),
}

impl ModelCache {
    /// Finds the installed models that are to be served, and loads the first one, which is returned, too.
    ///
    /// # Errors
    /// [`ModelError`] if the first one is not installed or does not run, or if the folder of models cannot be read.
    pub(crate) fn start(
        loader: ModelLoader,
        rules: CacheRules,
        metrics: WorkerMetrics,
    ) -> Result<(Self, Arc<LoadedModel>), ModelError> {
        let CacheRules { wanted, first, budget } = rules;
        let started = Instant::now();
        let bundle = loader.bundle(&first)?;
        let mut models = BTreeMap::new();
        for (name, found) in loader.installed(wanted.as_ref())? {
            match found {
                Ok(bundle) => {
                    metrics.begin_model(&name);
                    models.insert(name, Entry::new(bundle));
                }
                Err(error) => tracing::warn!(model = %name, %error, "this model is not served"),
            }
        }
        for name in wanted.clone().into_iter().flatten() {
            if !models.contains_key(&name) {
                tracing::warn!(model = %name, "MODELS names a model that is not installed; it is served once it is");
            }
        }
        let entry = models.entry(first.clone()).or_insert_with(|| Entry::new(bundle.clone()));
        let run_times = Arc::clone(&entry.run_times);
        let loaded = Arc::new(loader.load(bundle, run_times, Prepare::All)?);
        metrics.count_load(&first, LoadOutcome::Loaded);
        tracing::info!(model = %first, took_ms = started.elapsed().as_millis(), "model loaded");
        entry.loaded = Some(Arc::clone(&loaded));
        let (entries, changes) = (Mutex::new(Entries { models, uses: 0 }), watch::Sender::new(()));
        Ok((Self { loader, wanted, budget, metrics, entries, changes }, loaded))
    }

    /// Told of every change of the models that are served, and of their versions.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The names of the models that jobs are pulled for.
    pub(crate) fn names(&self) -> BTreeSet<ModelName> {
        self.entries.lock().served().map(|(name, _)| name.clone()).collect()
    }

    /// The models that jobs are pulled for.
    pub(crate) fn served(&self) -> BTreeMap<ModelName, ServedModel> {
        let entries = self.entries.lock();
        entries.served().map(|(name, entry)| (name.clone(), entry.served_model())).collect()
    }

    /// What APIs are told of the models that jobs are pulled for.
    pub(crate) fn statuses(&self) -> Vec<ModelStatus> {
        let entries = self.entries.lock();
        let status = |(name, entry): (&ModelName, &Entry)| ModelStatus {
            name: name.clone(),
            digest: entry.served_bundle().digest(),
            in_memory: entry.loaded.is_some(),
            runs: entry.run_times.count(),
        };
        entries.served().map(status).collect()
    }

    /// The model of a job, in memory. Waits until it is loaded. Cancel-safe: a load goes on without those who wait.
    ///
    /// # Errors
    /// [`InferenceError::NotServed`], and [`InferenceError::Model`] if it cannot be loaded.
    pub(crate) async fn get(
        self: &Arc<Self>,
        name: &ModelName,
    ) -> Result<Arc<LoadedModel>, InferenceError> {
        match self.find(name)? {
            Found::Loaded(model) => Ok(model),
            Found::Loading(loading) => outcome(loading).await,
        }
    }

    /// As [`ModelCache::get`], for a run that no job must notice: `None` if other models would have to be dropped for it.
    /// It does not count as a use, so this model is dropped before those that jobs ask for.
    ///
    /// # Errors
    /// As [`ModelCache::get`].
    pub(crate) async fn get_if_room(
        self: &Arc<Self>,
        name: &ModelName,
    ) -> Result<Option<Arc<LoadedModel>>, InferenceError> {
        let bundle = match self.entries.lock().models.get(name) {
            None => return Err(InferenceError::NotServed(name.clone())),
            Some(Entry { loaded: Some(model), .. }) => return Ok(Some(Arc::clone(model))),
            Some(entry) => entry.bundle.clone(),
        };
        let this = Arc::clone(self);
        // It looks at the size of a file.
        let bytes = spawn_blocking(move || this.loader.expected_bytes(&bundle)).await;
        let bytes = bytes.map_err(|error| InferenceError::Panicked(error.to_string()))?;
        match self.find_if_room(name, bytes)? {
            Some(Found::Loaded(model)) => Ok(Some(model)),
            Some(Found::Loading(loading)) => outcome(loading).await.map(Some),
            None => Ok(None),
        }
    }

    fn find_if_room(
        self: &Arc<Self>,
        name: &ModelName,
        bytes: u64,
    ) -> Result<Option<Found>, InferenceError> {
        let mut entries = self.entries.lock();
        let has_room = entries.memory_bytes().saturating_add(bytes) <= self.budget;
        let Some(entry) = entries.models.get_mut(name) else {
            return Err(InferenceError::NotServed(name.clone()));
        };
        let is_in_memory = entry.loaded.is_some();
        (has_room || is_in_memory).then(|| self.found(name, entry)).transpose()
    }

    fn find(self: &Arc<Self>, name: &ModelName) -> Result<Found, InferenceError> {
        let mut entries = self.entries.lock();
        entries.uses += 1;
        let now = entries.uses;
        let Some(entry) = entries.models.get_mut(name) else {
            return Err(InferenceError::NotServed(name.clone()));
        };
        entry.last_use = now;
        self.found(name, entry)
    }

    /// The model in memory, or its load, which is started if there is none.
    fn found(
        self: &Arc<Self>,
        name: &ModelName,
        entry: &mut Entry,
    ) -> Result<Found, InferenceError> {
        if let Some(model) = &entry.loaded {
            return Ok(Found::Loaded(Arc::clone(model)));
        }
        if let Some((since, error)) = &entry.failed
            && since.elapsed() < RETRY_LOAD
        {
            return Err(InferenceError::Model(Arc::clone(error)));
        }
        Ok(Found::Loading(self.loading(name, entry)))
    }

    /// The load in progress, which is started if there is none.
    fn loading(self: &Arc<Self>, name: &ModelName, entry: &mut Entry) -> Loading {
        let in_progress = entry.loading.as_ref().filter(|loading| loading.has_changed().is_ok());
        if let Some(loading) = in_progress {
            return loading.clone();
        }
        let (outcome, loading) = watch::channel(None);
        entry.loading = Some(loading.clone());
        // A model that replaces one in memory will be asked for at once.
        let prepare = if entry.loaded.is_some() { Prepare::All } else { Prepare::One };
        let (this, name, run_times) =
            (Arc::clone(self), name.clone(), Arc::clone(&entry.run_times));
        spawn_blocking(move || {
            let loaded = this.load(&name, &run_times, prepare);
            this.finish_load(&name, &loaded);
            outcome.send_replace(Some(loaded));
        });
        loading
    }

    /// Loads the version that is installed now.
    fn load(&self, name: &ModelName, run_times: &Arc<RunTimes>, prepare: Prepare) -> Loaded {
        let started = Instant::now();
        let loaded = self.load_installed(name, run_times, prepare);
        let outcome = if loaded.is_ok() { LoadOutcome::Loaded } else { LoadOutcome::Failed };
        self.metrics.count_load(name, outcome);
        let took_ms = started.elapsed().as_millis();
        match &loaded {
            Ok(model) => {
                let (digest, memory_bytes) = (model.digest(), model.memory_bytes());
                tracing::info!(model = %name, %digest, took_ms, memory_bytes, "model loaded");
            }
            Err(error) => tracing::error!(model = %name, %error, "the model cannot be loaded"),
        }
        loaded.map(Arc::new).map_err(Arc::new)
    }

    fn load_installed(
        &self,
        name: &ModelName,
        run_times: &Arc<RunTimes>,
        prepare: Prepare,
    ) -> Result<LoadedModel, ModelError> {
        let mut bundle = self.loader.bundle(name)?;
        for _ in 0..MOST_CHANGES {
            self.make_room(self.loader.expected_bytes(&bundle), Some(name));
            let loaded = self.loader.load(bundle.clone(), Arc::clone(run_times), prepare);
            // The model may be installed again after its description was read and before its weights are.
            match (&loaded, self.loader.bundle(name)) {
                (Err(_), Ok(now)) if now.digest() != bundle.digest() => bundle = now,
                _ => return loaded,
            }
        }
        self.loader.load(bundle, Arc::clone(run_times), prepare)
    }

    fn finish_load(&self, name: &ModelName, loaded: &Loaded) {
        let mut entries = self.entries.lock();
        let mut previous = None;
        if let Some(entry) = entries.models.get_mut(name) {
            entry.loading = None;
            entry.failed = None;
            match loaded {
                Ok(model) => {
                    entry.bundle = model.bundle().clone();
                    previous = entry.loaded.replace(Arc::clone(model));
                }
                Err(error) => entry.failed = Some((Instant::now(), Arc::clone(error))),
            }
        }
        drop(entries);
        // Not under the lock: it takes a while.
        drop(previous);
        self.make_room(0, Some(name));
        self.changes.send_replace(());
    }

    /// Drops models that no job holds, the least recently used first, until `more` bytes fit into the budget. `keep` is
    /// not dropped.
    pub(crate) fn make_room(&self, more: u64, keep: Option<&ModelName>) {
        let mut dropped = Vec::new();
        {
            let mut entries = self.entries.lock();
            while entries.memory_bytes().saturating_add(more) > self.budget
                && let Some(unused) = entries.take_least_used(keep)
            {
                self.metrics.count_eviction(&unused.0);
                dropped.push(unused);
            }
        }
        for (name, model) in dropped {
            let memory_bytes = model.memory_bytes();
            tracing::info!(model = %name, memory_bytes, "model dropped from memory");
            // Not under the lock: it takes a while.
            drop(model);
            self.changes.send_replace(());
        }
    }

    /// The digest of each model that jobs are pulled for, as it was installed last.
    pub(crate) fn versions(&self) -> BTreeMap<ModelName, Sha256Digest> {
        let entries = self.entries.lock();
        let version =
            |(name, entry): (&ModelName, &Entry)| (name.clone(), entry.served_bundle().digest());
        entries.served().map(version).collect()
    }

    /// Checks that all files of a version are there, and returns how much memory it will take.
    ///
    /// # Errors
    /// As [`ModelBundle::verify`].
    pub(crate) fn check(&self, bundle: &ModelBundle) -> Result<u64, ModelError> {
        bundle.verify()?;
        Ok(self.loader.expected_bytes(bundle))
    }

    /// Serves the version `bundle` of a model. If another one is in memory, or if there is room for `bytes`, the new one
    /// is loaded first.
    ///
    /// # Errors
    /// [`InferenceError`] if it cannot be loaded. If there is another version in memory, jobs still get that one.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        name: &ModelName,
        bundle: ModelBundle,
        bytes: u64,
    ) -> Result<(), InferenceError> {
        self.metrics.begin_model(name);
        let loaded = match self.begin_serving(name, bundle, bytes) {
            Some(loading) => outcome(loading).await.map(drop),
            None => Ok(()),
        };
        if let Some(entry) = self.entries.lock().models.get_mut(name) {
            entry.is_served = true;
        }
        self.changes.send_replace(());
        loaded
    }

    /// The load of the version, if it is to be loaded before it is served.
    fn begin_serving(
        self: &Arc<Self>,
        name: &ModelName,
        bundle: ModelBundle,
        bytes: u64,
    ) -> Option<Loading> {
        let mut entries = self.entries.lock();
        let has_room = entries.memory_bytes().saturating_add(bytes) <= self.budget;
        let entry = entries
            .models
            .entry(name.clone())
            .or_insert_with(|| Entry { is_served: false, ..Entry::new(bundle.clone()) });
        if entry.loaded.is_none() {
            entry.bundle = bundle;
            entry.failed = None;
        }
        (has_room || entry.loaded.is_some()).then(|| self.loading(name, entry))
    }

    /// No more jobs are pulled for the model. Those that have come are run, if it is in memory.
    pub(crate) fn stop_serving(&self, name: &ModelName) {
        if let Some(entry) = self.entries.lock().models.get_mut(name) {
            entry.is_served = false;
        }
        self.changes.send_replace(());
    }

    /// Drops a model that is not served any more. Jobs that hold it still run.
    pub(crate) fn forget(&self, name: &ModelName) {
        let forgotten = self.entries.lock().models.remove(name);
        // Not under the lock, nor on a thread of async code: it takes a while.
        spawn_blocking(move || drop(forgotten));
        self.changes.send_replace(());
    }

    /// As [`ModelLoader::installed`], of the models that this worker serves.
    ///
    /// # Errors
    /// [`ModelError::Read`] if the folder of models cannot be read, or is not there.
    pub(crate) fn installed(
        &self,
    ) -> Result<BTreeMap<ModelName, Result<ModelBundle, ModelError>>, ModelError> {
        self.loader.installed(self.wanted.as_ref())
    }
}

/// Waits for a load.
async fn outcome(mut loading: Loading) -> Result<Arc<LoadedModel>, InferenceError> {
    match loading.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(Ok(model))) => Ok(Arc::clone(model)),
        Ok(Some(Err(error))) => Err(InferenceError::Model(Arc::clone(error))),
        // A load that panics ends without an outcome.
        Ok(None) | Err(_) => Err(InferenceError::Panicked("the load of the model".to_owned())),
    }
}
