//! Dead letters, for operators.

mod error;
mod schema;

use bytes::Bytes;
use domain::picture::{PictureFormat, PictureLimits, inspect};
use messaging::DeadLetterId;
use poem::{Body, web::Data};
use poem_openapi::{
    ApiResponse, OpenApi, ResponseContent,
    param::{Path, Query},
    payload::{Binary, Json},
};

use self::{
    error::{RequeueError, unavailable, unknown, without_picture},
    schema::{DeadLetterList, Requeued},
};
use super::{
    cursor,
    shared_error::{ChangeError, FindError, ReadError},
};
use crate::{given_up::GivenUp, routes::tag::Tag};

/// How many dead letters a page has, unless its client says otherwise.
const DEFAULT_LIMIT: u8 = 20;

/// The routes of dead letters.
pub(crate) struct DeadLettersApi;

#[OpenApi(prefix_path = "/v1", tag = "Tag::V1")]
impl DeadLettersApi {
    /// List dead letters
    ///
    /// Jobs that no worker could process, and messages that are no jobs; the oldest first, in pages. Needs the scope
    /// `admin`, where requests need a key.
    #[oai(path = "/dead-letters", method = "get")]
    async fn dead_letters(
        &self,
        given_up: Data<&GivenUp>,
        /// How many dead letters a page has at most, from 1 to 100. Default 20.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u8>>,
        /// `next` of a page: the page after it.
        cursor: Query<Option<String>>,
    ) -> Result<Json<DeadLetterList>, ReadError> {
        let limit = usize::from(limit.0.unwrap_or(DEFAULT_LIMIT));
        let after = cursor::parse(cursor.0).map_err(ReadError::cursor)?;
        match given_up.letters(after, limit).await {
            Ok(page) => Ok(Json(page.into())),
            Err(error) => Err(ReadError::unavailable(unavailable(&error))),
        }
    }

    /// The picture of a dead letter
    ///
    /// As its client sent it. Of a message that is no job, the whole message.
    #[oai(path = "/dead-letters/:id/picture", method = "get")]
    async fn dead_letter_picture(
        &self,
        given_up: Data<&GivenUp>,
        /// The `id` of the dead letter: its task, or a number.
        id: Path<String>,
    ) -> Result<PictureResponse, FindError> {
        let known = parse(&id).ok_or_else(|| FindError::Unknown(unknown(&id)))?;
        let letter = given_up.letter(known).await;
        let letter = letter.map_err(|error| FindError::unavailable(unavailable(&error)))?;
        let letter = letter.ok_or_else(|| FindError::Unknown(unknown(&id)))?;
        let picture = given_up.picture(&letter).await;
        let picture = picture.map_err(|error| FindError::unavailable(unavailable(&error)))?;
        let picture = picture.ok_or_else(|| FindError::Unknown(without_picture()))?;
        // Never shown as a page of this API, whatever it is.
        let disposition = "attachment".to_owned();
        Ok(PictureResponse::Picture(content(picture), disposition))
    }

    /// Requeue a dead letter
    ///
    /// Its job is queued again as a new task, and the dead letter is deleted. The old task stays FAILURE.
    #[oai(path = "/dead-letters/:id/requeue", method = "post")]
    async fn requeue_dead_letter(
        &self,
        given_up: Data<&GivenUp>,
        /// The `id` of the dead letter: its task, or a number.
        id: Path<String>,
    ) -> Result<RequeueResponse, RequeueError> {
        let known = parse(&id).ok_or_else(|| RequeueError::Unknown(unknown(&id)))?;
        match given_up.requeue(known).await {
            Ok(Some(task_id)) => {
                let location = format!("/v1/tasks/{task_id}");
                Ok(RequeueResponse::Queued(Json(Requeued::new(task_id)), location))
            }
            Ok(None) => Err(RequeueError::Unknown(unknown(&id))),
            Err(error) => Err(error.into()),
        }
    }

    /// Delete a dead letter
    ///
    /// With its picture. The task stays FAILURE.
    #[oai(path = "/dead-letters/:id", method = "delete")]
    async fn drop_dead_letter(
        &self,
        given_up: Data<&GivenUp>,
        /// The `id` of the dead letter: its task, or a number.
        id: Path<String>,
    ) -> Result<DropResponse, ChangeError> {
        let known = parse(&id).ok_or_else(|| ChangeError::Unknown(unknown(&id)))?;
        match given_up.discard(known).await {
            Ok(true) => Ok(DropResponse::Dropped),
            Ok(false) => Err(ChangeError::Unknown(unknown(&id))),
            Err(error) => Err(ChangeError::unavailable(unavailable(&error))),
        }
    }
}

fn parse(id: &str) -> Option<DeadLetterId> {
    id.parse().ok()
}

/// The picture in its format, by its content.
fn content(picture: Bytes) -> PictureContent {
    // The upload has checked its limits.
    let limits = PictureLimits { max_bytes: u64::MAX, max_pixels: u64::MAX };
    let format = inspect(&picture, &limits).map(|header| header.format);
    let body = Binary(Body::from(picture));
    match format {
        Ok(PictureFormat::Jpeg) => PictureContent::Jpeg(body),
        Ok(PictureFormat::Png) => PictureContent::Png(body),
        Ok(PictureFormat::WebP) => PictureContent::WebP(body),
        Ok(PictureFormat::Bmp) => PictureContent::Bmp(body),
        Ok(PictureFormat::Gif) => PictureContent::Gif(body),
        Err(_) => PictureContent::Unknown(body),
    }
}

/// A picture in its format, or what is none.
#[derive(ResponseContent)]
enum PictureContent {
    #[oai(content_type = "image/jpeg")]
    Jpeg(Binary<Body>),
    #[oai(content_type = "image/png")]
    Png(Binary<Body>),
    #[oai(content_type = "image/webp")]
    WebP(Binary<Body>),
    #[oai(content_type = "image/bmp")]
    Bmp(Binary<Body>),
    #[oai(content_type = "image/gif")]
    Gif(Binary<Body>),
    #[oai(content_type = "application/octet-stream")]
    Unknown(Binary<Body>),
}

#[derive(ApiResponse)]
enum PictureResponse {
    /// The picture.
    #[oai(status = 200)]
    Picture(
        PictureContent,
        /// `attachment`: browsers save it.
        #[oai(header = "Content-Disposition")]
        String,
    ),
}

#[derive(ApiResponse)]
enum RequeueResponse {
    /// The job is queued as a new task.
    #[oai(status = 202)]
    Queued(
        Json<Requeued>,
        /// Where the new task is.
        #[oai(header = "Location")]
        String,
    ),
}

#[derive(ApiResponse)]
enum DropResponse {
    /// The dead letter is deleted.
    #[oai(status = 204)]
    Dropped,
}
