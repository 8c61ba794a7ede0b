//! Copying a message to the dead letters.

use async_nats::jetstream::{context::PublishErrorKind, message::PublishMessage};
use bytes::Bytes;

use super::wire::{self, DeadLetterInfo};
use crate::{Messaging, MessagingError};

/// Stores a copy of `message` among the dead letters, unless one is there already.
pub(crate) async fn copy_to_dead_letters(
    messaging: &Messaging,
    message: &async_nats::Message,
    burial: &DeadLetterInfo<'_>,
) -> Result<(), MessagingError> {
    let (subject, headers) = wire::dead_letter(message, burial);
    let what = "copy a message to the dead letters";
    let publish = async |payload: Bytes| {
        let copy = PublishMessage::build().headers(headers.clone()).payload(payload);
        messaging.jetstream().send_publish(subject.clone(), copy).await?.await
    };
    match messaging.within_timeout(what, publish(message.payload.clone())).await? {
        Ok(_) => Ok(()),
        // This job is among the dead letters already.
        Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(()),
        // Somebody else's message may be exactly as large as is allowed. Its headers must do.
        Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
            messaging.within(what, publish(Bytes::new())).await.map(drop)
        }
        Err(error) => Err(MessagingError::failed(what, error)),
    }
}
