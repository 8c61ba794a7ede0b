//! Drawings: stored in pieces, read again, and deleted where no record names them.

use bytes::{Bytes, BytesMut};
use domain::{Drawing, DrawingFormat, TaskId};
use futures_util::TryStreamExt;
use messaging::{DrawingError, Drawings, MessagingError};
use testkit::eventually;

use crate::fixture::{Fixture, TIMEOUT, large_picture};

/// A drawing of several pieces, the last of which is short.
const BYTES: usize = (1 << 20) + 5;

async fn put(drawings: &Drawings, id: TaskId, file: &Bytes) -> Drawing {
    let stored = drawings.put(id, DrawingFormat::Png, file.clone()).await.unwrap();
    let drawing = stored.drawing();
    stored.keep();
    drawing
}

async fn read(drawings: &Drawings, id: TaskId, drawing: Drawing) -> Result<Bytes, MessagingError> {
    let pieces: Vec<Bytes> = drawings.read(id, drawing).try_collect().await?;
    Ok(pieces
        .iter()
        .fold(BytesMut::new(), |mut file, piece| {
            file.extend_from_slice(piece);
            file
        })
        .freeze())
}

fn pieces(fixture: &Fixture) -> u64 {
    fixture.server.stream("DRAWINGS").unwrap().messages
}

#[tokio::test]
async fn a_drawing_is_read_as_it_was_stored() {
    let fixture = Fixture::start().await;
    let drawings = fixture.messaging.drawings();
    let (id, other) = (TaskId::generate(), TaskId::generate());
    for bytes in [1, 128 << 10, BYTES] {
        let file = large_picture(bytes);
        let drawing = put(&drawings, id, &file).await;
        assert_eq!((drawing.format, drawing.bytes), (DrawingFormat::Png, bytes as u64));
        assert_eq!(read(&drawings, id, drawing).await.unwrap(), file);
        assert_eq!(read(&drawings, other, drawing).await.unwrap(), Bytes::new());
    }
    assert_eq!(pieces(&fixture), 1 + 1 + 9);
    // Two runs of one job have a drawing each.
    let (one, two) = (large_picture(BYTES), large_picture(BYTES / 2));
    let (first, second) = (put(&drawings, id, &one).await, put(&drawings, id, &two).await);
    assert_eq!(read(&drawings, id, first).await.unwrap(), one);
    assert_eq!(read(&drawings, id, second).await.unwrap(), two);
}

#[tokio::test]
async fn a_drawing_that_no_record_names_is_deleted() {
    let fixture = Fixture::start().await;
    let drawings = fixture.messaging.drawings();
    let id = TaskId::generate();
    let kept = put(&drawings, id, &large_picture(BYTES)).await;
    let before = pieces(&fixture);
    drop(drawings.put(id, DrawingFormat::Jpeg, large_picture(BYTES)).await.unwrap());
    eventually(TIMEOUT, async || (pieces(&fixture) == before).then_some(())).await;
    assert!(read(&drawings, id, kept).await.is_ok());

    // Its run is stopped while the drawing is being stored.
    let (putting, file) = (drawings.clone(), large_picture(64 * BYTES));
    let run = tokio::spawn(async move { putting.put(id, DrawingFormat::Jpeg, file).await });
    eventually(TIMEOUT, async || (pieces(&fixture) > before).then_some(())).await;
    run.abort();
    eventually(TIMEOUT, async || (pieces(&fixture) == before).then_some(())).await;
}

#[tokio::test]
async fn a_drawing_with_a_missing_piece_is_an_error() {
    let fixture = Fixture::start().await;
    let drawings = fixture.messaging.drawings();
    let id = TaskId::generate();
    let drawing = put(&drawings, id, &large_picture(BYTES)).await;
    let stream = fixture.raw().await.get_stream("DRAWINGS").await.unwrap();
    let subject = format!("drawings.{id}.{:08x}.3", drawing.id);
    stream.purge().filter(&subject).await.unwrap();
    let error = read(&drawings, id, drawing).await.unwrap_err().to_string();
    assert!(error.contains("piece 3 is gone"), "{error}");
}

#[tokio::test]
async fn a_full_store_refuses_a_drawing_and_keeps_nothing_of_it() {
    let fixture = Fixture::configured(|config| config.drawing_bytes = 2 << 20).await;
    let drawings = fixture.messaging.drawings();
    let id = TaskId::generate();
    let kept = put(&drawings, id, &large_picture(BYTES)).await;
    let before = pieces(&fixture);
    for bytes in [2 * BYTES, 3 * BYTES + 1, 20 * BYTES] {
        let refused = drawings.put(id, DrawingFormat::Jpeg, large_picture(bytes)).await;
        assert!(matches!(refused, Err(DrawingError::Full)), "{refused:?}");
    }
    eventually(TIMEOUT, async || (pieces(&fixture) == before).then_some(())).await;
    assert_eq!(read(&drawings, id, kept).await.unwrap(), large_picture(BYTES));
}
