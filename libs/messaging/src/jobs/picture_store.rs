//! Pictures that are too large for a message.
//!
//! Written here and not by the library's `ObjectStore::put`, which leaves the pieces it has stored
//! where they are when a later one is refused, when time runs out, or when its caller goes away.
//! Nobody finds them then, and the store is full of them until they expire. What is stored is the
//! same: pieces on one subject, and the object's description on another (NATS ADR-20).

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

/// How many pieces may be on their way at once: enough to keep the server busy, and few enough that
/// no more than 2 MiB wait in the connection in front of everybody else's messages.
const IN_FLIGHT: usize = 16;

/// A picture takes many messages, so it may take this many times as long as one question.
const PATIENCE: u32 = 6;

/// How often removing a picture is tried in the background, how long each attempt waits for a
/// connection, and the pause before it.
const REMOVALS: u32 = 10;
const REMOVAL_PATIENCE: Duration = Duration::from_secs(30);
const REMOVAL_PAUSE: Duration = Duration::from_millis(500);

/// A picture whose pieces are stored, and that has no name yet. Dropped without one, its pieces are
/// removed.
pub(crate) struct Upload {
    pieces: Pieces,
    info: ObjectInfo,
}

/// Pieces of one object. Dropped before they are kept, they are removed in the background.
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
}

/// Messages on one subject that are to be removed.
struct Removal {
    subject: String,
    extent: Extent,
}

enum Extent {
    All,
    /// Up to this sequence, and nothing newer.
    UpTo(u64),
    /// All, and those that have been sent and not stored yet.
    AllOnTheirWay,
}

/// Stores the pieces of a picture. Cancelled or failed, it removes what it has stored.
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
    /// Gives the picture its name, the task's id. A picture that had it before is removed.
    ///
    /// Not to be cancelled: nobody would know whether the name is stored. After an error it may be,
    /// without its pieces; no job looks for it then.
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
        if let Some(before) = before {
            remove(&messaging, [Removal::of_pieces(&before.nuid)]).await;
        }
        Ok(StoredPicture { name: self.info.name, nuid: self.info.nuid, sequence })
    }
}

impl Pieces {
    fn new(messaging: Messaging) -> Self {
        // As long and as unlikely to meet again as the ids that the library gives.
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
        // Without a runtime the process is about to end; then they stay until they expire.
        let Ok(runtime) = Handle::try_current() else { return };
        let messaging = self.messaging.clone();
        let pieces = Removal { extent: Extent::AllOnTheirWay, ..Removal::of_pieces(&self.nuid) };
        runtime.spawn(async move { remove(&messaging, [pieces]).await });
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
    // No more than all objects together may have, whoever asks.
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
    // What it says of its size is believed as far as that is allowed: memory for more would be gone
    // before the first byte has come.
    let told = object.info().size as u64;
    if told > most {
        return Err(PictureFetchError::TooLarge { task_id, most });
    }
    let mut bytes = Vec::with_capacity(told as usize);
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

/// Removes the picture of a finished task. If that fails, the store forgets it when it expires.
pub(crate) async fn delete(messaging: &Messaging, name: &str) {
    match find(messaging, name).await {
        Ok(Some(info)) => {
            // The pieces first: without its name, nobody would find them.
            let name = Removal { subject: name_subject(name), extent: Extent::All };
            remove(messaging, [Removal::of_pieces(&info.nuid), name]).await;
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(object = name, %error, "a picture stays until it expires"),
    }
}

/// Removes a picture that was just stored, and none that has been given the same name since.
pub(crate) async fn take_back(messaging: &Messaging, picture: &StoredPicture) {
    let extent = Extent::UpTo(picture.sequence);
    let name = Removal { subject: name_subject(&picture.name), extent };
    remove(messaging, [Removal::of_pieces(&picture.nuid), name]).await;
}

/// What is stored under this name.
pub(crate) async fn find(
    messaging: &Messaging,
    name: &str,
) -> Result<Option<ObjectInfo>, MessagingError> {
    let what = "look a picture up";
    let store = messaging.picture_store().await?;
    match messaging.within_timeout(what, store.info(name)).await? {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(None),
        Err(error) => Err(MessagingError::failed(what, error)),
    }
}

impl Removal {
    fn of_pieces(nuid: &str) -> Self {
        Self { subject: pieces_subject(nuid), extent: Extent::All }
    }
}

/// Removes messages one after another. What cannot be removed at once is removed in the background:
/// nobody need wait for that. The library's `delete` would leave a message for each object that was
/// ever stored, until it expires.
async fn remove(messaging: &Messaging, removals: impl IntoIterator<Item = Removal>) {
    for removal in removals {
        if remove_once(messaging, &removal).await.is_err() {
            tokio::spawn(remove_patiently(messaging.clone(), removal));
        }
    }
}

async fn remove_patiently(messaging: Messaging, removal: Removal) {
    let subject = &removal.subject;
    for attempt in 1..=REMOVALS {
        tokio::time::sleep(REMOVAL_PAUSE).await;
        messaging.wait_until_connected(REMOVAL_PATIENCE).await;
        match remove_once(&messaging, &removal).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(subject, %error, attempt, "a picture was not removed"),
        }
    }
    tracing::warn!(subject, "a picture stays until it expires");
}

async fn remove_once(messaging: &Messaging, removal: &Removal) -> Result<(), MessagingError> {
    let what = "remove a picture";
    if matches!(removal.extent, Extent::AllOnTheirWay) {
        wait_for_earlier(messaging, &removal.subject).await?;
    }
    let stream = messaging.jetstream().get_stream_no_info(PICTURE_STREAM);
    let purge = messaging.within(what, stream).await?.purge().filter(&removal.subject);
    let purge = match removal.extent {
        // The server removes what is older than the number it is given.
        Extent::UpTo(last) => purge.sequence(last.saturating_add(1)).into_future(),
        Extent::All | Extent::AllOnTheirWay => purge.into_future(),
    };
    messaging.within(what, purge).await.map(drop)
}

/// Waits until the server has dealt with all that was sent to `subject`. It may carry out a removal
/// before it stores what was sent earlier; but it stores in order, so one message more tells when.
async fn wait_for_earlier(messaging: &Messaging, subject: &str) -> Result<(), MessagingError> {
    let what = "wait for a picture's pieces";
    let publish =
        async { messaging.jetstream().publish(subject.to_owned(), Bytes::new()).await?.await };
    match messaging.within_timeout(what, publish).await? {
        Err(error) if api_error(&error).is_none() => Err(MessagingError::failed(what, error)),
        // That there is no room for it is an answer, too.
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
    let after = messaging.config().request_timeout * PATIENCE;
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
