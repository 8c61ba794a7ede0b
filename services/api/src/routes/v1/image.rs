//! The picture of a task with the detected objects drawn in.

mod error;

use std::time::Duration;

use bytes::Bytes;
use domain::{DrawingFormat, TaskId, TaskRecord, TaskState};
use futures_util::{Stream, StreamExt, stream};
use messaging::MessagingError;
use poem::{Body, Request, web::Data};
use poem_openapi::{
    ApiResponse, OpenApi, ResponseContent,
    param::{Header, Path, Query},
    payload::Binary,
};

use self::error::ImageError;
use super::{LONGEST_WAIT_SECONDS, error::VARY};
use crate::{
    auth::Caller,
    http::{accept::Accept, entity_tag::matches},
    routes::{health::ApiHealth, tag::Tag},
    tasks::{Tasks, lookup::Lookup},
};

/// The route of drawings.
pub(crate) struct ImageApi;

#[OpenApi(prefix_path = "/v1", tag = "Tag::V1")]
impl ImageApi {
    /// The picture with the detected objects drawn in
    ///
    /// For tasks that were submitted with `annotated`, which also says whether it is a JPEG, a PNG or a WebP.
    #[oai(path = "/tasks/:task_id/image", method = "get")]
    async fn image(
        &self,
        tasks: Data<&Tasks>,
        health: Data<&ApiHealth>,
        caller: Data<&Caller>,
        /// The id that the submission answered with.
        task_id: Path<String>,
        /// Hold the answer back until the task ends, for this many seconds at most, up to 30.
        wait: Query<Option<u64>>,
        /// The `ETag` of an earlier answer: a 304 without a body, since an image does not change.
        #[oai(name = "If-None-Match")]
        if_none_match: Header<Option<String>>,
        request: &Request,
    ) -> Result<ImageResponse, ImageError> {
        let id: TaskId =
            task_id.parse().map_err(|error| ImageError::unknown(format!("{error}")))?;
        let wait = Duration::from_secs(wait.0.unwrap_or(0).min(LONGEST_WAIT_SECONDS));
        let record = match tasks.find_or_wait(id, caller.viewer(), wait, &health.shutdown).await {
            Ok(Lookup::Found(record)) => record,
            Ok(Lookup::Unknown) => {
                return Err(ImageError::unknown(format!("there is no task {id}")));
            }
            Ok(Lookup::Expired) => return Err(ImageError::expired(id)),
            Err(error) => return Err(unreadable(id, &error)),
        };
        let TaskState::Success { drawing: Some(drawing), .. } = record.state else {
            return Err(no_image(*record));
        };
        let format = drawing.format;
        let accept = Accept::of(request.headers());
        if accept.prefer(&[((), format.media_type())]).is_none() {
            return Err(ImageError::not_acceptable(format));
        }
        let (tag, vary) = (format!("\"{:08x}\"", drawing.id), VARY.to_owned());
        if if_none_match.0.is_some_and(|known| matches(&known, &tag)) {
            return Ok(ImageResponse::Unchanged(tag, vary));
        }
        let mut pieces = Box::pin(tasks.drawings.read(id, drawing));
        // The first piece says whether the others are there.
        match pieces.next().await {
            Some(Ok(first)) => {
                let body = body(first, pieces);
                Ok(ImageResponse::Image(image(format, body), drawing.bytes, tag, vary))
            }
            None => Err(ImageError::no_image("the image of this task is gone")),
            Some(Err(error)) => Err(unreadable(id, &error)),
        }
    }
}

/// Why a task has no image.
fn no_image(record: TaskRecord) -> ImageError {
    let is_asked_for = record.job.annotated.is_some();
    match record.state {
        TaskState::Success { .. } if is_asked_for => ImageError::no_image(
            "the image of this task was not stored; the task's `warnings` say why",
        ),
        _ if is_asked_for => ImageError::no_result(record),
        _ => ImageError::no_image(
            "this task has no image: submit the picture with `annotated=true` to get one",
        ),
    }
}

fn unreadable(id: TaskId, error: &MessagingError) -> ImageError {
    tracing::warn!(task_id = %id, %error, "cannot read an image");
    ImageError::unavailable()
}

/// The pieces, each read once the client has taken those before it. If one cannot be read, the connection is closed
/// before the end of the body.
fn body(
    first: Bytes,
    others: impl Stream<Item = Result<Bytes, MessagingError>> + Send + 'static,
) -> Body {
    let pieces = stream::iter([Ok(first)]).chain(others);
    Body::from_bytes_stream(pieces.map(|piece| piece.map_err(std::io::Error::other)))
}

fn image(format: DrawingFormat, body: Body) -> Image {
    match format {
        DrawingFormat::Jpeg => Image::Jpeg(Binary(body)),
        DrawingFormat::Png => Image::Png(Binary(body)),
        DrawingFormat::WebP => Image::WebP(Binary(body)),
    }
}

/// An image in its format.
#[derive(ResponseContent)]
enum Image {
    #[oai(content_type = "image/jpeg")]
    Jpeg(Binary<Body>),
    #[oai(content_type = "image/png")]
    Png(Binary<Body>),
    #[oai(content_type = "image/webp")]
    WebP(Binary<Body>),
}

#[derive(ApiResponse)]
enum ImageResponse {
    /// The image.
    #[oai(status = 200)]
    Image(
        Image,
        /// Its length in bytes.
        #[oai(header = "Content-Length")]
        u64,
        /// Identifies the image.
        #[oai(header = "ETag")]
        String,
        /// The header that the answer depends on.
        #[oai(header = "Vary")]
        String,
    ),
    /// The image is that of the answer with the `ETag` in `If-None-Match`.
    #[oai(status = 304)]
    Unchanged(
        /// As in `If-None-Match`.
        #[oai(header = "ETag")]
        String,
        /// The header that the answer depends on.
        #[oai(header = "Vary")]
        String,
    ),
}
