//! The models that requests may name: what they are, who serves them, and how many of their jobs wait.

pub(crate) mod workers;

use std::{collections::BTreeSet, sync::Arc};

use domain::ModelName;
use messaging::{MessagingError, ModelDescription, ModelDescriptions, ModelReport, QueueDepth};

use self::workers::WorkerReports;
use crate::tasks::backpressure::Backpressure;

/// The models as this API knows them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Models {
    /// The model of requests that name none.
    pub(crate) default: ModelName,
    pub(crate) workers: WorkerReports,
    pub(crate) descriptions: Arc<ModelDescriptions>,
    /// The last sample of the queue.
    pub(crate) queue: Backpressure,
}

/// A model that requests may name.
pub(crate) struct KnownModel {
    pub(crate) name: ModelName,
    pub(crate) is_default: bool,
    /// `None`: no worker has described it.
    pub(crate) description: Option<ModelDescription>,
    /// What living workers report of it. If there are none, its jobs wait.
    pub(crate) reports: Vec<ModelReport>,
    /// Its jobs in the queue. `None`: the queue has no consumers for them, or was not sampled yet.
    pub(crate) depth: Option<QueueDepth>,
}

/// There is no model of this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no model '{name}', there are: {}", listed(.known))]
pub(crate) struct UnknownModel {
    name: ModelName,
    /// Those that there are.
    known: BTreeSet<ModelName>,
}

fn listed(names: &BTreeSet<ModelName>) -> String {
    names.iter().map(ModelName::as_str).collect::<Vec<_>>().join(", ")
}

impl Models {
    /// All models, in the order of their names.
    pub(crate) async fn list(&self) -> Result<Vec<KnownModel>, MessagingError> {
        let mut descriptions = self.descriptions.list().await?;
        let mut names = self.in_memory();
        names.extend(descriptions.keys().cloned());
        let of_name = |name| {
            let description = descriptions.remove(&name);
            self.known(name, description)
        };
        Ok(names.into_iter().map(of_name).collect())
    }

    /// The model of this name.
    pub(crate) async fn find(&self, name: ModelName) -> Result<Option<KnownModel>, MessagingError> {
        let description = self.descriptions.get(&name).await?;
        if description.is_none() && !self.is_in_memory(&name) {
            return Ok(None);
        }
        Ok(Some(self.known(name, description)))
    }

    /// Checks that there is a model of this name. If NATS does not answer, the queue refuses the job anyway.
    ///
    /// # Errors
    /// [`UnknownModel`].
    pub(crate) async fn check(&self, name: &ModelName) -> Result<(), UnknownModel> {
        if self.is_in_memory(name) {
            return Ok(());
        }
        match self.descriptions.names().await {
            Ok(described) if described.contains(name) => Ok(()),
            Ok(described) => {
                let known = self.in_memory().into_iter().chain(described).collect();
                Err(UnknownModel { name: name.clone(), known })
            }
            Err(error) => {
                tracing::debug!(%error, model = %name, "cannot check that there is a model");
                Ok(())
            }
        }
    }

    /// The default model, those that workers serve, and those whose jobs the queue has consumers for, which are known
    /// without a request. The backlog of the last may have to start their first worker.
    fn in_memory(&self) -> BTreeSet<ModelName> {
        let sample = self.queue.newest();
        let set_up = sample.into_iter().flat_map(|sample| sample.by_model.into_keys());
        self.workers.names().into_iter().chain(set_up).chain([self.default.clone()]).collect()
    }

    fn is_in_memory(&self, name: &ModelName) -> bool {
        *name == self.default || self.workers.serve(name) || self.is_set_up(name)
    }

    fn is_set_up(&self, name: &ModelName) -> bool {
        self.queue.newest().is_some_and(|sample| sample.by_model.contains_key(name))
    }

    fn known(&self, name: ModelName, description: Option<ModelDescription>) -> KnownModel {
        let sample = self.queue.newest();
        KnownModel {
            is_default: name == self.default,
            description,
            reports: self.workers.of(&name),
            depth: sample.and_then(|sample| sample.by_model.get(&name).copied()),
            name,
        }
    }
}
