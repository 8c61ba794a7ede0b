//! Copies messages to the dead letters.

use async_nats::jetstream::{context::PublishErrorKind, message::PublishMessage};
use bytes::Bytes;

use super::wire::{self, DeadLetterInfo};
use crate::{Messaging, MessagingError, connection::refusal::is_overtaken};

/// Stores a copy of `message` among the dead letters, unless one is there already.
pub(crate) async fn copy_to_dead_letters(
    messaging: &Messaging,
    message: &async_nats::Message,
    letter: &DeadLetterInfo<'_>,
) -> Result<(), MessagingError> {
    let (subject, headers) = wire::dead_letter(message, letter);
    let what = "copy a message to the dead letters";
    let publish = async |payload: Bytes| {
        let copy = PublishMessage::build().headers(headers.clone()).payload(payload);
        messaging.jetstream().send_publish(subject.clone(), copy).await?.await
    };
    match messaging.within_timeout(what, publish(message.payload.clone())).await? {
        Ok(_) => Ok(()),
        // There is a dead letter of this job already.
        Err(error) if is_overtaken(&error) => Ok(()),
        // A message that is not a job may be as large as max_payload: its headers are kept without payload.
        Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
            messaging.within(what, publish(Bytes::new())).await.map(drop)
        }
        Err(error) => Err(MessagingError::failed(what, error)),
    }
}
