//! What provisioning did, and why it could not.

use service::files::human_size;

use super::streams::{MAX_DEAD_LETTER_BYTES, reserved_bytes};
use crate::{MessagingConfig, MessagingError, connection::refusal::Refusal, error::Cause};

/// What provisioning did to a stream or consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvisionOutcome {
    /// It was missing and has been created.
    Created,
    /// Its settings differed and have been updated.
    Updated,
    /// It existed with the configured settings.
    Unchanged,
    /// Its settings differ, and these credentials may not update them.
    Differs,
}

/// A stream or consumer, and what provisioning did to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// Its kind and name: `stream JOBS`, `consumer normal-yolov8n`.
    pub what: String,
    /// What was done.
    pub outcome: ProvisionOutcome,
}

/// The error of a denied creation: other credentials must provision what is missing.
pub(super) fn missing(what: &str, denied: MessagingError) -> MessagingError {
    match denied {
        MessagingError::NotPermitted { .. } => {
            MessagingError::MustBeProvisioned { what: what.to_owned() }
        }
        other => other,
    }
}

/// `None` if an update was denied: an existing stream can be used with other settings.
pub(super) fn if_changeable<T>(
    what: &str,
    outcome: Result<T, MessagingError>,
) -> Result<Option<T>, MessagingError> {
    match outcome {
        Ok(changed) => Ok(Some(changed)),
        Err(MessagingError::NotPermitted { .. }) => {
            tracing::warn!(
                "{what} has other settings than this process, whose credentials may not update them: \
                 provision it again, or give every process the same settings"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The error of a refused change, with what an operator can do.
pub(super) fn refused(config: &MessagingConfig, what: String, cause: Cause) -> MessagingError {
    let advice = match Refusal::in_chain(cause.as_ref()) {
        Some(Refusal::ServerFull) => {
            return MessagingError::Provision { what, cause, advice: storage_advice(config) };
        }
        Some(Refusal::TooFewServers) => {
            "set no more replicas than there are servers in the cluster"
        }
        Some(Refusal::NoJetStream) | None => {
            "check that JetStream is enabled on the server and for this account"
        }
        Some(
            Refusal::StreamFull
            | Refusal::AccountFull
            | Refusal::Overtaken
            | Refusal::WriteError
            | Refusal::PurgeForbidden
            | Refusal::NoStream
            | Refusal::NoConsumer
            | Refusal::FiltersOverlap
            | Refusal::Other,
        ) => "change the setting back, or delete it on the server so that it is created again",
    };
    MessagingError::Provision { what, cause, advice: advice.to_owned() }
}

fn storage_advice(config: &MessagingConfig) -> String {
    format!(
        "the streams set aside {reserved} on each server: 2 × QUEUE_MAX_BYTES ({each} each, for jobs and \
         for large pictures), {dead} for dead letters, DRAWINGS_MAX_BYTES ({drawings}){events}. The server's \
         limit, max_file_store, is less, or \
         others have taken it. Where none is set, it is three quarters of the disk's free space at the \
         server's start, so {disk} must be free then. Lower QUEUE_MAX_BYTES or DRAWINGS_MAX_BYTES, raise max_file_store, or make \
         room and restart the server",
        reserved = human_size(reserved_bytes(config)),
        each = human_size(config.limits.max_bytes),
        dead = human_size(2 * MAX_DEAD_LETTER_BYTES.unsigned_abs()),
        drawings = human_size(config.drawing_bytes),
        events = config.events_advice(),
        disk = human_size(config.disk_bytes()),
    )
}
