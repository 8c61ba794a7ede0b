//! The models whose jobs a worker runs.

use std::path::Path;

use detector::{ModelBundle, ModelError};
use domain::ModelName;
use messaging::{Messaging, MessagingError};

use crate::Config;

/// The installed ones of `MODELS`, or all installed ones; the one that is loaded at the start is the first.
///
/// # Errors
/// [`ModelError`] if the folder of models cannot be read.
pub(crate) fn served_models(
    config: &Config,
    models_dir: &Path,
) -> Result<Vec<ModelName>, ModelError> {
    let mut served = vec![config.model.clone()];
    let installed = ModelBundle::list(models_dir)?.into_iter().filter_map(|listed| {
        let name = listed.dir.file_name()?.to_str()?.parse().ok()?;
        listed.bundle.is_ok().then_some(name)
    });
    let installed: Vec<ModelName> = installed.collect();
    let wanted =
        config.models.clone().map_or(installed.clone(), |models| models.into_iter().collect());
    for model in wanted {
        if !installed.contains(&model) {
            tracing::warn!(%model, "MODELS names a model that is not installed; its jobs are not pulled");
        } else if !served.contains(&model) {
            served.push(model);
        }
    }
    Ok(served)
}

/// Creates the consumers of the models, or checks that they are there. Where they are not and these credentials may not
/// create them, the jobs of other models are pulled until they are (`Deliveries`).
///
/// # Errors
/// [`MessagingError::MustBeProvisioned`] if no model has consumers; otherwise as [`Messaging::provision_consumers`].
pub(crate) async fn provision(
    messaging: &Messaging,
    models: &[ModelName],
) -> Result<(), MessagingError> {
    let (mut present, mut missing) = (0, None);
    for model in models {
        match messaging.provision_consumers(model).await {
            Ok(_) => present += 1,
            Err(error @ MessagingError::MustBeProvisioned { .. }) => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if present == 0 => Err(error),
        _ => Ok(()),
    }
}
