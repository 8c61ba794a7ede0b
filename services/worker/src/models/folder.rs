//! Following the folder of installed models.
//!
//! The folder is read again and again: network volumes do not tell of changes. A model that was added or replaced is
//! taken once its files are complete.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use detector::{ModelBundle, ModelError};
use domain::{ModelName, Sha256Digest};
use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use super::cache::ModelCache;

/// In how many looks a model must be missing before no more jobs are pulled for it. An installation that replaces a model
/// moves the old folder away before it moves the new one in.
const REMOVED_AFTER: u32 = 2;

/// In how many looks it must be missing before it is dropped, so that the jobs that were pulled before are run.
const FORGOTTEN_AFTER: u32 = 3;

/// Serves what is installed, replaced and removed in the folder of models, until `end` is cancelled.
pub(crate) async fn watch_folder(
    models: Arc<ModelCache>,
    interval: Duration,
    end: CancellationToken,
) {
    let mut folder = FolderWatch { models, missing: HashMap::new(), refused: HashMap::new() };
    while end.run_until_cancelled(sleep(interval)).await.is_some() {
        folder.look().await;
    }
}

/// The models in the folder, or why they cannot be used.
type Found = BTreeMap<ModelName, Result<ModelBundle, ModelError>>;

fn is_missing(found: &Found, name: &ModelName) -> bool {
    matches!(found.get(name), None | Some(Err(ModelError::NotInstalled { .. })))
}

struct FolderWatch {
    models: Arc<ModelCache>,
    /// In how many looks a model that was served has been missing.
    missing: HashMap<ModelName, u32>,
    /// Versions that were not taken, so that each is reported once.
    refused: HashMap<ModelName, Refused>,
}

/// Why a version was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// Its description cannot be used.
    Description,
    /// Its weights are not those of its description. They may still be being copied.
    Incomplete(Sha256Digest),
    /// It cannot be loaded.
    Broken(Sha256Digest),
}

impl FolderWatch {
    async fn look(&mut self) {
        let models = Arc::clone(&self.models);
        match spawn_blocking(move || models.installed()).await {
            Ok(Ok(found)) => self.compare(found).await,
            Ok(Err(error)) => tracing::warn!(%error, "the folder of models cannot be read"),
            Err(error) => tracing::error!(%error, "reading the folder of models has failed"),
        }
        // Models in use take more memory with each slot that runs them.
        let models = Arc::clone(&self.models);
        spawn_blocking(move || models.make_room(0, None));
    }

    async fn compare(&mut self, found: Found) {
        let served = self.models.versions();
        for name in served.keys().filter(|name| is_missing(&found, name)) {
            self.missing.entry(name.clone()).or_default();
        }
        self.count_missing(&found);
        for (name, found) in found {
            match found {
                Ok(bundle) if served.get(&name) == Some(&bundle.digest()) => {
                    self.refused.remove(&name);
                }
                Ok(bundle) => self.take(name, bundle).await,
                Err(ModelError::NotInstalled { .. }) => {}
                Err(error) => {
                    if self.is_first(&name, Refused::Description) {
                        tracing::warn!(model = %name, %error, "the installed model cannot be used");
                    }
                }
            }
        }
    }

    fn count_missing(&mut self, found: &Found) {
        let models = &self.models;
        self.missing.retain(|name, looks| {
            if !is_missing(found, name) {
                return false;
            }
            *looks += 1;
            if *looks == REMOVED_AFTER {
                tracing::info!(model = %name, "model removed: no more jobs are pulled for it");
                models.stop_serving(name);
            }
            if *looks == FORGOTTEN_AFTER {
                models.forget(name);
            }
            *looks < FORGOTTEN_AFTER
        });
    }

    /// Serves a version that is new, if it is complete.
    async fn take(&mut self, name: ModelName, bundle: ModelBundle) {
        let digest = bundle.digest();
        if self.refused.get(&name) == Some(&Refused::Broken(digest)) {
            return;
        }
        let (models, files) = (Arc::clone(&self.models), bundle.clone());
        let bytes = match spawn_blocking(move || models.check(&files)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => {
                if self.is_first(&name, Refused::Incomplete(digest)) {
                    tracing::info!(model = %name, %error, "the installed model is not complete; it is not taken yet");
                }
                return;
            }
            Err(error) => {
                tracing::error!(model = %name, %error, "checking the installed model has failed");
                return;
            }
        };
        match self.models.serve(&name, bundle, bytes).await {
            Ok(()) => {
                self.refused.remove(&name);
                tracing::info!(model = %name, %digest, "model installed: jobs are run with this version");
            }
            Err(error) => {
                self.refused.insert(name.clone(), Refused::Broken(digest));
                tracing::error!(model = %name, %digest, %error, "the installed model cannot be loaded");
            }
        }
    }

    /// Records why a version was not taken. Whether that is new.
    fn is_first(&mut self, name: &ModelName, refused: Refused) -> bool {
        self.refused.insert(name.clone(), refused) != Some(refused)
    }
}
