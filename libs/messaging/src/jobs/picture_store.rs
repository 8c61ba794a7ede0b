//! The object store of pictures that are too large for a message.
//!
//! Written here and not by the library's `ObjectStore::put`, which leaves stored pieces behind when a later
//! piece is refused, on a timeout, and when its caller is cancelled. Such pieces cannot be found, and fill
//! the store until they expire. The stored format is the same: pieces on one subject, and the object's
//! description on another (NATS ADR-20).

use std::{future::IntoFuture, time::Duration};

use async_nats::{
    HeaderMap,
    header::NATS_ROLLUP,
    jetstream::{
        context::{PublishAckFuture, PublishError},
        message::PublishMessage,
        object_store::{GetErrorKind, InfoErrorKind, ObjectInfo, ObjectOptions},
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use bytes::Bytes;
use domain::{Sha256Digest, Sha256Hasher, TaskId};
use futures_util::{StreamExt, stream::FuturesUnordered};
use rand::{RngExt, distr::Alphanumeric};
use time::OffsetDateTime;
use tokio::{io::AsyncReadExt, runtime::Handle};

use super::wire::object_name;
use crate::{
    Messaging, MessagingError, PictureFetchError, SubmitError,
    connection::refusal::NotPublished,
    error::api_error,
    provision::names::{PICTURE_STORE, PICTURE_STREAM},
};

/// The size of an object's pieces, in bytes: the library's default, and NATS's recommendation.
const PIECE: usize = 128 * 1024;

/// How many unconfirmed pieces there may be: enough to keep the server busy, and few enough that no more
/// than 2 MiB are queued in the connection before other messages.
const IN_FLIGHT: usize = 16;

/// A picture is many messages, so its timeout is this many times that of one request.
const TIMEOUT_FACTOR: u32 = 6;

/// How often deleting a picture is retried in the background, how long each attempt waits for a connection,
/// and the delay before it.
const DELETE_ATTEMPTS: u32 = 10;
const DELETE_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const DELETE_DELAY: Duration = Duration::from_millis(500);

/// A picture whose pieces are stored and that has no name yet. Dropped without a name, it deletes its
/// pieces.
pub(crate) struct Upload {
    pieces: Pieces,
    info: ObjectInfo,
}

/// The pieces of one object. Dropped before they are kept, they are deleted in the background.
struct Pieces {
    messaging: Messaging,
    nuid: String,
    in_flight: FuturesUnordered<<PublishAckFuture as IntoFuture>::IntoFuture>,
    kept: bool,
}

/// A picture that was just stored.
pub(crate) struct StoredPicture {
    pub(crate) name: String,
    nuid: String,
    /// Of the message that names it.
    sequence: u64,
    /// Whether an earlier picture had this name. Its job may be in the queue, and reads this one now.
    pub(super) has_replaced: bool,
}

/// Messages on one subject that are to be deleted.
struct Deletion {
    subject: String,
    extent: Extent,
}

enum Extent {
    All,
    /// Up to this sequence, and nothing newer.
    UpTo(u64),
    /// All, and those that have been sent and not stored yet.
    AllInFlight,
}

/// Stores the pieces of a picture. Deletes them again if it fails or is cancelled.
pub(crate) async fn upload(
    messaging: &Messaging,
    task_id: TaskId,
    picture: &Bytes,
) -> Result<Upload, SubmitError> {
    let mut pieces = Pieces::new(messaging.clone());
    let size = PIECE.min(messaging.client().max_payload());
    let send = pieces.send(picture, size);
    let what = "store a picture";
    let digest = tokio::select! {
        digest = transfer(messaging, what, send) => digest,
        why = messaging.writes().failed(PICTURE_STREAM) => {
            Err(MessagingError::CannotStore { what, stream: PICTURE_STREAM, why })
        }
    };
    let digest = digest.map_err(unavailable)??;
    let info = ObjectInfo {
        name: object_name(task_id),
        description: None,
        metadata: [].into(),
        headers: None,
        options: Some(ObjectOptions { link: None, max_chunk_size: Some(size) }),
        bucket: PICTURE_STORE.to_owned(),
        nuid: pieces.nuid.clone(),
        size: picture.len(),
        chunks: picture.len().div_ceil(size),
        modified: Some(OffsetDateTime::now_utc()),
        digest: Some(format!("SHA-256={}", URL_SAFE.encode(digest.as_bytes()))),
        deleted: false,
    };
    Ok(Upload { pieces, info })
}

impl Upload {
    /// Stores the picture's name, the task's id. Deletes an earlier picture of that name.
    ///
    /// Must not be cancelled, since the name may be stored then. After an error it may be stored without its
    /// pieces; no job refers to it.
    pub(crate) async fn complete(mut self) -> Result<StoredPicture, SubmitError> {
        let what = "name a picture";
        let messaging = self.pieces.messaging.clone();
        let before = find(&messaging, &self.info.name).await.map_err(unavailable)?;
        let mut headers = HeaderMap::new();
        // Only the newest description of an object is kept.
        headers.insert(NATS_ROLLUP, "sub");
        let json = serde_json::to_vec(&self.info)
            .map_err(|error| SubmitError::Unavailable { detail: error.to_string() })?;
        let message = PublishMessage::build().headers(headers).payload(json.into());
        let publish = async {
            let subject = name_subject(&self.info.name);
            messaging.jetstream().send_publish(subject, message).await?.await
        };
        let stored = messaging.within_write(what, PICTURE_STREAM, publish).await;
        let stored = stored.map_err(unavailable)?;
        let sequence = stored.map_err(|error| refused(&messaging, &error))?.sequence;
        self.pieces.kept = true;
        let has_replaced = before.is_some();
        if let Some(before) = before {
            delete_all(&messaging, [Deletion::of_pieces(&before.nuid)]).await;
        }
        Ok(StoredPicture { name: self.info.name, nuid: self.info.nuid, sequence, has_replaced })
    }
}

impl Pieces {
    fn new(messaging: Messaging) -> Self {
        // As long and as random as the library's ids.
        let nuid = rand::rng().sample_iter(Alphanumeric).take(22).map(char::from).collect();
        Self { messaging, nuid, in_flight: FuturesUnordered::new(), kept: false }
    }

    /// Sends the pieces, several at a time, waits until all are stored, and returns the digest.
    async fn send(&mut self, picture: &Bytes, size: usize) -> Result<Sha256Digest, SubmitError> {
        let subject = pieces_subject(&self.nuid);
        let jetstream = self.messaging.jetstream().clone();
        let mut hasher = Sha256Hasher::new();
        for start in (0..picture.len()).step_by(size) {
            let piece = picture.slice(start..picture.len().min(start + size));
            hasher.update(&piece);
            if self.in_flight.len() >= IN_FLIGHT {
                self.next_stored().await?;
            }
            let sent = jetstream.publish(subject.clone(), piece).await;
            self.in_flight
                .push(sent.map_err(|error| refused(&self.messaging, &error))?.into_future());
        }
        while !self.in_flight.is_empty() {
            self.next_stored().await?;
        }
        Ok(hasher.finish())
    }

    async fn next_stored(&mut self) -> Result<(), SubmitError> {
        match self.in_flight.next().await {
            Some(Err(error)) => Err(refused(&self.messaging, &error)),
            Some(Ok(_)) | None => Ok(()),
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Without a runtime the process is ending; the pieces stay until they expire.
        let Ok(runtime) = Handle::try_current() else { return };
        let messaging = self.messaging.clone();
        let pieces = Deletion { extent: Extent::AllInFlight, ..Deletion::of_pieces(&self.nuid) };
        runtime.spawn(async move { delete_all(&messaging, [pieces]).await });
    }
}

/// Reads the picture of a task, if it has no more than `most` bytes.
pub(crate) async fn get(
    messaging: &Messaging,
    task_id: TaskId,
    name: &str,
    most: u64,
) -> Result<Bytes, PictureFetchError> {
    let what = "read a picture";
    // No more than the whole store may have.
    let most = most.min(messaging.config().limits.max_bytes);
    let store = messaging.picture_store().await.map_err(PictureFetchError::Transient)?;
    let object = messaging.within_timeout(what, store.get(name)).await;
    let object = match object.map_err(PictureFetchError::Transient)? {
        Ok(object) => object,
        Err(error) if error.kind() == GetErrorKind::NotFound => {
            return Err(PictureFetchError::Gone { task_id });
        }
        Err(error) => {
            return Err(PictureFetchError::Transient(MessagingError::failed(what, error)));
        }
    };
    // The description's size is trusted up to the limit only: it is allocated before the first byte
    // arrives.
    let claimed = object.info().size as u64;
    if claimed > most {
        return Err(PictureFetchError::TooLarge { task_id, most });
    }
    let mut bytes = Vec::with_capacity(claimed as usize);
    let mut object = object.take(most + 1);
    match transfer(messaging, what, object.read_to_end(&mut bytes)).await {
        Ok(Ok(_)) if bytes.len() as u64 > most => {
            Err(PictureFetchError::TooLarge { task_id, most })
        }
        Ok(Ok(_)) => Ok(bytes.into()),
        Ok(Err(error)) => Err(PictureFetchError::Transient(MessagingError::failed(what, error))),
        Err(error) => Err(PictureFetchError::Transient(error)),
    }
}

/// Deletes the picture of a finished task. If that fails, it stays until it expires.
pub(crate) async fn delete(messaging: &Messaging, name: &str) {
    match find(messaging, name).await {
        Ok(Some(info)) => {
            // The pieces first: they cannot be found without the name.
            let name = Deletion { subject: name_subject(name), extent: Extent::All };
            delete_all(messaging, [Deletion::of_pieces(&info.nuid), name]).await;
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(object = name, %error, "a picture stays until it expires"),
    }
}

/// Deletes a picture that was just stored, but not a later one of the same name.
pub(crate) async fn delete_stored(messaging: &Messaging, picture: &StoredPicture) {
    let extent = Extent::UpTo(picture.sequence);
    let name = Deletion { subject: name_subject(&picture.name), extent };
    delete_all(messaging, [Deletion::of_pieces(&picture.nuid), name]).await;
}

/// The object of this name.
pub(crate) async fn find(
    messaging: &Messaging,
    name: &str,
) -> Result<Option<ObjectInfo>, MessagingError> {
    let what = "look up a picture";
    let store = messaging.picture_store().await?;
    match messaging.within_timeout(what, store.info(name)).await? {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(None),
        Err(error) => Err(MessagingError::failed(what, error)),
    }
}

impl Deletion {
    fn of_pieces(nuid: &str) -> Self {
        Self { subject: pieces_subject(nuid), extent: Extent::All }
    }
}

/// Deletes messages one after another; what fails is retried in the background. The library's `delete` would
/// leave a message for each object that was ever stored, until it expires.
async fn delete_all(messaging: &Messaging, deletions: impl IntoIterator<Item = Deletion>) {
    for deletion in deletions {
        if delete_once(messaging, &deletion).await.is_err() {
            tokio::spawn(retry_deletion(messaging.clone(), deletion));
        }
    }
}

async fn retry_deletion(messaging: Messaging, deletion: Deletion) {
    let subject = &deletion.subject;
    for attempt in 1..=DELETE_ATTEMPTS {
        tokio::time::sleep(DELETE_DELAY).await;
        messaging.wait_until_connected(DELETE_CONNECT_TIMEOUT).await;
        match delete_once(&messaging, &deletion).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(subject, %error, attempt, "a picture was not deleted"),
        }
    }
    tracing::warn!(subject, "a picture stays until it expires");
}

async fn delete_once(messaging: &Messaging, deletion: &Deletion) -> Result<(), MessagingError> {
    let what = "delete a picture";
    if matches!(deletion.extent, Extent::AllInFlight) {
        wait_for_earlier(messaging, &deletion.subject).await?;
    }
    let stream = messaging.jetstream().get_stream_no_info(PICTURE_STREAM);
    let purge = messaging.within(what, stream).await?.purge().filter(&deletion.subject);
    let purge = match deletion.extent {
        // The server deletes messages below this sequence.
        Extent::UpTo(last) => purge.sequence(last.saturating_add(1)).into_future(),
        Extent::All | Extent::AllInFlight => purge.into_future(),
    };
    messaging.within(what, purge).await.map(drop)
}

/// Waits until the server has processed all messages sent to `subject`. It may carry out a purge before it
/// stores earlier messages; but it stores in order, so the answer to one more message shows it.
async fn wait_for_earlier(messaging: &Messaging, subject: &str) -> Result<(), MessagingError> {
    let what = "wait for a picture's pieces";
    let publish =
        async { messaging.jetstream().publish(subject.to_owned(), Bytes::new()).await?.await };
    match messaging.within_timeout(what, publish).await? {
        Err(error) if api_error(&error).is_none() => Err(MessagingError::failed(what, error)),
        // A refusal is an answer, too.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn pieces_subject(nuid: &str) -> String {
    format!("$O.{PICTURE_STORE}.C.{nuid}")
}

fn name_subject(name: &str) -> String {
    format!("$O.{PICTURE_STORE}.M.{}", URL_SAFE.encode(name))
}

async fn transfer<T>(
    messaging: &Messaging,
    what: &'static str,
    call: impl Future<Output = T>,
) -> Result<T, MessagingError> {
    let after = messaging.config().request_timeout * TIMEOUT_FACTOR;
    messaging.within_time(what, after, call).await
}

/// Why a picture was not stored. Without an answer the pieces are removed, and nothing looks for them.
fn refused(messaging: &Messaging, error: &PublishError) -> SubmitError {
    match messaging.not_published(error) {
        NotPublished::Unknown => SubmitError::Unavailable { detail: error.to_string() },
        NotPublished::Refused(refused) => refused,
    }
}

fn unavailable(error: MessagingError) -> SubmitError {
    SubmitError::Unavailable { detail: error.to_string() }
}
