//! The subjects of a stream's messages, from the leader's index: no message is read.

use futures_util::StreamExt;

use crate::{Messaging, MessagingError};

/// The subjects that match `filter`; `what` is what they are listed for.
pub(crate) async fn list(
    messaging: &Messaging,
    what: &'static str,
    stream: &str,
    filter: String,
) -> Result<Vec<String>, MessagingError> {
    let stream = messaging.within(what, messaging.jetstream().get_stream_no_info(stream)).await?;
    let mut found = messaging.within(what, stream.info_with_subjects(filter)).await?;
    let mut subjects = Vec::new();
    // In pages, each of which has the time of a request.
    while let Some(found) = messaging.within_timeout(what, found.next()).await? {
        let (subject, _) = found.map_err(|error| MessagingError::failed(what, error))?;
        subjects.push(subject);
    }
    Ok(subjects)
}
