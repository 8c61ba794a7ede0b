//! Pictures that are too large for a message.

use async_nats::jetstream::{
    ErrorCode,
    object_store::{GetErrorKind, ObjectMetadata},
};
use bytes::Bytes;
use domain::TaskId;
use tokio::io::AsyncReadExt;

use crate::{Messaging, MessagingError, PictureError, SubmitError, queue::FULL, wire::object_name};

/// The size of an object's pieces, in bytes: the library's default, and NATS's recommendation.
const PIECE: usize = 128 * 1024;

/// A picture takes many messages, so it may take this many times as long as one question.
const PATIENCE: u32 = 6;

/// Stores the picture under its task's id. A second time replaces the first.
pub(crate) async fn put(
    messaging: &Messaging,
    task_id: TaskId,
    picture: &Bytes,
) -> Result<(), SubmitError> {
    let store = messaging.picture_store().await.map_err(unavailable)?;
    let meta = ObjectMetadata {
        name: object_name(task_id),
        chunk_size: Some(PIECE.min(messaging.client().max_payload())),
        ..ObjectMetadata::default()
    };
    let mut bytes = picture.as_ref();
    let put = store.put(meta, &mut bytes);
    match transfer(messaging, "store a picture", put).await.map_err(unavailable)? {
        Ok(_) => Ok(()),
        Err(error) => Err(refusal_of_pieces(&error.to_string())),
    }
}

/// Reads the picture of a task.
pub(crate) async fn get(
    messaging: &Messaging,
    task_id: TaskId,
    name: &str,
) -> Result<Bytes, PictureError> {
    let what = "read a picture";
    let store = messaging.picture_store().await.map_err(PictureError::Transient)?;
    let object = messaging.within_timeout(what, store.get(name)).await;
    let mut object = match object.map_err(PictureError::Transient)? {
        Ok(object) => object,
        Err(error) if error.kind() == GetErrorKind::NotFound => {
            return Err(PictureError::Gone { task_id });
        }
        Err(error) => return Err(PictureError::Transient(MessagingError::failed(what, error))),
    };
    let mut bytes = Vec::with_capacity(object.info().size);
    match transfer(messaging, what, object.read_to_end(&mut bytes)).await {
        Ok(Ok(_)) => Ok(bytes.into()),
        Ok(Err(error)) => Err(PictureError::Transient(MessagingError::failed(what, error))),
        Err(error) => Err(PictureError::Transient(error)),
    }
}

/// Removes the picture of a finished task. If that fails, the store forgets it after a day.
pub(crate) async fn delete(messaging: &Messaging, name: &str) {
    let outcome = match messaging.picture_store().await {
        Ok(store) => messaging.within("delete a picture", store.delete(name)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        tracing::warn!(object = name, %error, "a picture stays in the object store until it expires");
    }
}

async fn transfer<T>(
    messaging: &Messaging,
    what: &'static str,
    call: impl Future<Output = T>,
) -> Result<T, MessagingError> {
    let after = messaging.config().request_timeout * PATIENCE;
    tokio::time::timeout(after, call).await.map_err(|_| MessagingError::Timeout { what, after })
}

/// The library passes on the server's refusal of a piece as text only, so the code is read from it.
fn refusal_of_pieces(said: &str) -> SubmitError {
    let detail = said.to_owned();
    let is_full = |code: &ErrorCode| said.contains(&format!("error code {}", code.0));
    if FULL.iter().any(is_full) {
        SubmitError::QueueFull { detail }
    } else {
        SubmitError::Unavailable { detail }
    }
}

fn unavailable(error: MessagingError) -> SubmitError {
    SubmitError::Unavailable { detail: error.to_string() }
}
