//! The drawings of tasks: stored in pieces, as long as results.
//!
//! Each piece has a subject of its own, `drawings.<task>.<drawing>.<piece>`, so that a reader needs no consumer. The
//! drawing's id distinguishes those of several runs of one job; the task's record names the one that counts.

use std::{
    future::{IntoFuture, ready},
    sync::atomic::{AtomicBool, Ordering},
};

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use domain::{Drawing, DrawingFormat, TaskId};
use futures_util::{Stream, StreamExt, stream};
use tokio::runtime::Handle;

use crate::{
    Messaging, MessagingError,
    connection::refusal::{PublishFailure, Refusal},
    provision::names::{DRAWING_STREAM, DRAWING_SUBJECT},
};

/// The size of a piece, in bytes. The server sends it as base64 within one message.
const PIECE: usize = 128 * 1024;

/// How many unconfirmed pieces there may be.
const IN_FLIGHT: usize = 8;

/// Why a drawing was not stored.
#[derive(Debug, thiserror::Error)]
pub enum DrawingError {
    /// There is no room for it among the others.
    #[error("the store of drawings is full (DRAWINGS_MAX_BYTES)")]
    Full,
    /// The server did not store it.
    #[error(transparent)]
    NotStored(#[from] MessagingError),
}

/// The drawings of tasks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Drawings {
    messaging: Messaging,
}

/// A drawing that was just stored. It is deleted again when this is dropped, unless it is kept: its run may have been
/// stopped, or another run's result may have been stored first.
#[derive(Debug)]
pub struct StoredDrawing {
    messaging: Messaging,
    task_id: TaskId,
    drawing: Drawing,
    is_kept: bool,
}

impl Drawings {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging }
    }

    /// Stores a drawing. If the caller is dropped meanwhile, the drawing is deleted.
    ///
    /// # Errors
    /// [`DrawingError`]. What was stored of it is deleted.
    pub async fn put(
        &self,
        task_id: TaskId,
        format: DrawingFormat,
        file: Bytes,
    ) -> Result<StoredDrawing, DrawingError> {
        let drawing = Drawing { id: rand::random(), format, bytes: file.len() as u64 };
        let messaging = self.messaging.clone();
        // In a task of its own, which a cancelled caller does not stop: a piece that is on its way could not be
        // deleted. The task's result is dropped then.
        let storing = tokio::spawn(async move {
            let stored =
                StoredDrawing { messaging: messaging.clone(), task_id, drawing, is_kept: false };
            put_pieces(&messaging, task_id, &drawing, &file).await?;
            Ok(stored)
        });
        storing
            .await
            .unwrap_or_else(|error| Err(MessagingError::failed("store a drawing", error).into()))
    }

    /// The pieces of a drawing in their order, each read when it is asked for. The stream ends early, with
    /// [`MessagingError::Failed`], if one is gone; without a first piece it is empty.
    pub fn read(
        &self,
        task_id: TaskId,
        drawing: Drawing,
    ) -> impl Stream<Item = Result<Bytes, MessagingError>> + Send + use<> {
        let messaging = self.messaging.clone();
        let start = (messaging, 0, drawing.bytes);
        stream::try_unfold(start, move |(messaging, piece, left)| async move {
            if left == 0 {
                return Ok(None);
            }
            let what = "read a drawing";
            match read_piece(&messaging, &subject(task_id, &drawing, piece)).await? {
                None if piece == 0 => Ok(None),
                Some(bytes) if !bytes.is_empty() && bytes.len() as u64 <= left => {
                    let left = left - bytes.len() as u64;
                    Ok(Some((bytes, (messaging, piece + 1, left))))
                }
                _ => {
                    let cause = format!("piece {piece} is gone, or is not of this drawing");
                    Err(MessagingError::failed(what, cause))
                }
            }
        })
    }
}

impl StoredDrawing {
    /// The drawing, for the task's record.
    #[must_use]
    pub fn drawing(&self) -> Drawing {
        self.drawing
    }

    /// Keeps the drawing: a stored record names it, or may name it.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for StoredDrawing {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // Without a runtime the process is ending; the pieces stay until they expire.
        let Ok(runtime) = Handle::try_current() else { return };
        let (messaging, task_id, drawing) = (self.messaging.clone(), self.task_id, self.drawing);
        runtime.spawn(async move {
            if let Err(error) = delete(&messaging, task_id, &drawing).await {
                tracing::warn!(%task_id, %error, "a drawing stays until it expires");
            }
        });
    }
}

/// Stores the pieces, several at a time. After an error, those that were sent are awaited: the server could delete what it
/// has of the drawing before it stores them.
async fn put_pieces(
    messaging: &Messaging,
    task_id: TaskId,
    drawing: &Drawing,
    file: &Bytes,
) -> Result<(), DrawingError> {
    let size = PIECE.min(messaging.client().max_payload()).max(1);
    let has_failed = AtomicBool::new(false);
    let starts = stream::iter((0..file.len()).step_by(size).enumerate());
    let mut stored = starts
        .take_while(|_| ready(!has_failed.load(Ordering::Relaxed)))
        .map(|(piece, start)| {
            let bytes = file.slice(start..file.len().min(start + size));
            put_piece(messaging, subject(task_id, drawing, piece), bytes)
        })
        .buffer_unordered(IN_FLIGHT);
    let mut outcome = Ok(());
    while let Some(piece) = stored.next().await {
        has_failed.fetch_or(piece.is_err(), Ordering::Relaxed);
        outcome = outcome.and(piece);
    }
    outcome
}

async fn put_piece(
    messaging: &Messaging,
    subject: String,
    piece: Bytes,
) -> Result<(), DrawingError> {
    let what = "store a drawing";
    let publish = async { messaging.jetstream().publish(subject, piece).await?.await };
    match messaging.within_timeout(what, publish).await? {
        Ok(_) => Ok(()),
        Err(error)
            if PublishFailure::of(&error) == PublishFailure::Refused(Refusal::StreamFull) =>
        {
            Err(DrawingError::Full)
        }
        Err(error) => Err(MessagingError::failed(what, error).into()),
    }
}

async fn read_piece(messaging: &Messaging, subject: &str) -> Result<Option<Bytes>, MessagingError> {
    let what = "read a drawing";
    let stream = messaging.jetstream().get_stream_no_info(DRAWING_STREAM);
    let stream = messaging.within(what, stream).await?;
    let message = stream.get_last_raw_message_by_subject(subject);
    match messaging.within_timeout(what, message).await? {
        Ok(message) => Ok(Some(message.payload)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(MessagingError::failed(what, error)),
    }
}

async fn delete(
    messaging: &Messaging,
    task_id: TaskId,
    drawing: &Drawing,
) -> Result<(), MessagingError> {
    let what = "delete a drawing";
    let stream = messaging.jetstream().get_stream_no_info(DRAWING_STREAM);
    let stream = messaging.within(what, stream).await?;
    let purge = stream.purge().filter(format!("{}.*", subject_of(task_id, drawing)));
    messaging.within(what, purge.into_future()).await.map(drop)
}

fn subject(task_id: TaskId, drawing: &Drawing, piece: usize) -> String {
    format!("{}.{piece}", subject_of(task_id, drawing))
}

fn subject_of(task_id: TaskId, drawing: &Drawing) -> String {
    format!("{DRAWING_SUBJECT}.{task_id}.{:08x}", drawing.id)
}
