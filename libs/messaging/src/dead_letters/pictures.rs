//! Pictures of dead letters that are too large for a message: stored in pieces, as long as the letters.

use bytes::{Bytes, BytesMut};
use domain::TaskId;

use super::wire::PicturePieces;
use crate::{
    Messaging, MessagingError,
    provision::names::{DEAD_PICTURE_STREAM, DEAD_PICTURE_SUBJECT},
    stream_range::{self, Payloads, StreamRange},
};

/// The size of a piece, in bytes.
const PIECE: usize = 128 * 1024;

/// How many pieces are read at a time: 8 MiB.
const PIECES_AT_A_TIME: usize = 64;

/// Stores the picture in pieces and returns once the last one is stored.
pub(crate) async fn put(
    messaging: &Messaging,
    task_id: TaskId,
    picture: &Bytes,
) -> Result<PicturePieces, MessagingError> {
    // A subject for each attempt, so that the pieces of an interrupted attempt cannot become a part of the
    // picture.
    let subject = format!("{}.{:016x}", subject_of(task_id), rand::random::<u64>());
    let size = PIECE.min(messaging.client().max_payload());
    for start in (0..picture.len()).step_by(size) {
        let piece = picture.slice(start..picture.len().min(start + size));
        let publish = async { messaging.jetstream().publish(subject.clone(), piece).await?.await };
        messaging.within("store a dead letter's picture", publish).await?;
    }
    Ok(PicturePieces { subject, bytes: picture.len() as u64 })
}

/// The whole picture, or `None` if a piece is gone: a full stream deletes the oldest ones.
pub(crate) async fn get(
    messaging: &Messaging,
    pieces: &PicturePieces,
) -> Result<Option<Bytes>, MessagingError> {
    let mut picture = BytesMut::new();
    let mut from = 1;
    loop {
        let range = StreamRange {
            stream: DEAD_PICTURE_STREAM,
            subject: pieces.subject.clone(),
            from,
            most: PIECES_AT_A_TIME,
            payloads: Payloads::Read,
        };
        let read = stream_range::read(messaging, &range).await?;
        let Some(last) = read.last() else { break };
        from = last.sequence + 1;
        for piece in &read {
            picture.extend_from_slice(&piece.message.payload);
        }
        if picture.len() as u64 >= pieces.bytes {
            break;
        }
    }
    Ok((picture.len() as u64 == pieces.bytes).then(|| picture.freeze()))
}

/// Deletes a task's pieces, of all attempts.
pub(crate) async fn remove(messaging: &Messaging, task_id: TaskId) -> Result<(), MessagingError> {
    let what = "delete a dead letter's picture";
    let jetstream = messaging.jetstream();
    let stream = messaging.within(what, jetstream.get_stream_no_info(DEAD_PICTURE_STREAM)).await?;
    let purge = async { stream.purge().filter(format!("{}.*", subject_of(task_id))).await };
    messaging.within(what, purge).await.map(drop)
}

fn subject_of(task_id: TaskId) -> String {
    format!("{DEAD_PICTURE_SUBJECT}.{task_id}")
}
