//! What this worker tells of itself to APIs that ask.

use std::sync::Arc;

use messaging::{Messaging, MessagingError, PartStatus, ProcessIdentity, WorkerStatus};

use crate::context::Context;

/// Answers requests for the status of this worker in the background, until the connection is closed.
///
/// # Errors
/// [`MessagingError`] if the connection is closed.
pub(crate) async fn answer_requests(
    messaging: &Messaging,
    context: &Arc<Context>,
) -> Result<(), MessagingError> {
    let process = ProcessIdentity::new(context.name.clone(), service::VERSION);
    let requests = messaging.status_requests(process).await?;
    let context = Arc::clone(context);
    tokio::spawn(requests.answer(move || PartStatus::Worker(status(&context))));
    Ok(())
}

fn status(context: &Context) -> WorkerStatus {
    WorkerStatus {
        slots: context.slots.count(),
        busy: context.slots.busy(),
        models: context.models.statuses(),
        running: context.running.list(),
        stages: context.metrics.recent_latencies(),
        classes: context.metrics.classes(),
    }
}
