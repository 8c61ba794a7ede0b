//! The consumers of the models that a worker serves.

use std::collections::BTreeSet;

use domain::ModelName;
use messaging::{Messaging, MessagingError};

/// Creates the consumers of the models, or checks that they are there. Where they are not and these credentials may not
/// create them, the jobs of other models are pulled until they are (`Deliveries`).
///
/// # Errors
/// [`MessagingError::MustBeProvisioned`] if no model has consumers; otherwise as [`Messaging::provision_consumers`].
pub(crate) async fn provision_consumers(
    messaging: &Messaging,
    models: &BTreeSet<ModelName>,
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
