//! The models whose consumers are missing: no job of them is pulled until they are there.

use std::{collections::HashMap, future::pending, time::Duration};

use domain::ModelName;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use super::backoff::backoff;
use crate::{
    Messaging, MessagingError,
    provision::{consumers, lanes::Lane},
};

/// How often a worker looks for consumers that it may not create.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Provisions the consumers of some models, in a task for each.
#[derive(Default)]
pub(super) struct MissingConsumers {
    /// Each ends when the model's consumers are there.
    tasks: JoinSet<ModelName>,
    missing: HashMap<ModelName, AbortHandle>,
    /// How often in a row a model's consumers were missing when its jobs were pulled. While a cluster elects its leaders,
    /// the consumers are there and answer no request.
    failures: HashMap<ModelName, u32>,
}

impl MissingConsumers {
    /// Those of `models` whose consumers are there, as far as is known.
    pub(super) fn others(&self, models: &[ModelName]) -> Vec<ModelName> {
        models.iter().filter(|model| !self.missing.contains_key(*model)).cloned().collect()
    }

    /// Provisions the consumers of this model, until they are there.
    pub(super) fn add(&mut self, messaging: Messaging, model: ModelName) {
        if self.missing.contains_key(&model) {
            return;
        }
        tracing::warn!(%model, "the model's consumers are missing; provisioning them");
        let failures = self.failures.entry(model.clone()).or_default();
        let task = self.tasks.spawn(provision(messaging, model.clone(), *failures));
        *failures = failures.saturating_add(1);
        self.missing.insert(model, task);
    }

    /// Waits until the consumers of one more model are there; for ever if none are missing. Cancel-safe.
    pub(super) async fn found(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            // A task that was stopped has no model.
            if ended.is_ok_and(|model| self.missing.remove(&model).is_some()) {
                return;
            }
        }
        pending().await
    }

    /// Notes that jobs of this model are delivered.
    pub(super) fn is_there(&mut self, model: &ModelName) {
        self.failures.remove(model);
    }

    /// Forgets the models that are not among these.
    pub(super) fn keep(&mut self, models: &[ModelName]) {
        self.failures.retain(|model, _| models.contains(model));
        self.missing.retain(|model, task| {
            let is_kept = models.contains(model);
            if !is_kept {
                task.abort();
            }
            is_kept
        });
    }
}

/// Also provisions the streams: the server may have lost its store.
async fn provision(messaging: Messaging, model: ModelName, mut failures: u32) -> ModelName {
    loop {
        if failures > 0 {
            sleep(backoff(failures)).await;
        }
        match messaging.provision([model.clone()]).await {
            Ok(_) => return model,
            Err(error @ MessagingError::MustBeProvisioned { .. }) => {
                tracing::warn!(
                    %model,
                    %error,
                    "no job of this model is pulled; run the set-up (`spotter setup`) with the model in MODELS"
                );
                wait_for_consumers(&messaging, &model).await;
            }
            Err(error) => {
                tracing::warn!(%model, %error, "the model's consumers could not be provisioned");
            }
        }
        failures = failures.saturating_add(1);
    }
}

/// Waits until other credentials have created them.
async fn wait_for_consumers(messaging: &Messaging, model: &ModelName) {
    let what = "look for the consumers of a model";
    for lane in Lane::of_model(model) {
        while !matches!(consumers::find(messaging, what, &lane).await, Ok(Some(_))) {
            sleep(LOOK_AGAIN).await;
        }
    }
}
