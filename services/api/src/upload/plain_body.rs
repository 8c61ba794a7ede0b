//! Bodies that are no forms: the bytes of a picture, and JSON.

use std::io;

use bytes::{Bytes, BytesMut};
use domain::{Sha256Hasher, picture::PictureLimits};
use futures_util::Stream;
use poem::http::{HeaderMap, header::CONTENT_DISPOSITION};
use serde_json::Value;

use super::{
    arriving::ArrivingPicture,
    error::UploadError,
    form::FoundPicture,
    json_body::{JsonPicture, JsonSubmission},
    limited_body::LimitedBody,
    multipart::file_name_in,
    rules::{INITIAL_CAPACITY, MAX_FILE_NAME_CHARS},
};

/// The file name in `Content-Disposition`; empty if there is none.
///
/// # Errors
/// [`UploadError::NameTooLong`].
pub(super) fn file_name(headers: &HeaderMap) -> Result<String, UploadError> {
    let disposition = headers.get(CONTENT_DISPOSITION);
    let name = disposition.and_then(|value| file_name_in(value.as_bytes())).unwrap_or_default();
    match name.chars().count() {
        0..=MAX_FILE_NAME_CHARS => Ok(name),
        _ => Err(UploadError::NameTooLong),
    }
}

/// Reads a body that is a picture.
///
/// # Errors
/// [`UploadError`] if it is none.
pub(super) async fn read_picture<S: Stream<Item = io::Result<Bytes>> + Unpin>(
    mut body: LimitedBody<'_, S>,
    name: String,
    length: Option<u64>,
    limits: &PictureLimits,
    hasher: Option<Sha256Hasher>,
) -> Result<FoundPicture, UploadError> {
    let expected = length.unwrap_or(INITIAL_CAPACITY);
    let mut picture = ArrivingPicture::new(limits, expected, hasher);
    let rejected = |error| UploadError::Picture { filename: name.clone(), error };
    loop {
        match body.next().await {
            Ok(Some(segment)) => picture.push(&segment).map_err(rejected)?,
            Ok(None) => break,
            Err(error) => {
                // An incomplete bomb is reported as a bomb.
                picture.check().map_err(rejected)?;
                return Err(error);
            }
        }
    }
    let (bytes, sha256) = picture.finish().map_err(rejected)?;
    Ok(FoundPicture { name, bytes, sha256 })
}

/// What a body submits, and the parameters in it.
pub(super) struct FoundSubmission {
    pub(super) picture: PictureOrUrl,
    pub(super) parameters: Vec<(&'static str, Value)>,
}

/// A picture, or where it is.
pub(super) enum PictureOrUrl {
    Picture(FoundPicture),
    Url(String),
}

/// Reads a JSON object with the picture as base64 or its URL, and `known` parameters.
///
/// # Errors
/// [`UploadError`] if it is none.
pub(super) async fn read_json<S: Stream<Item = io::Result<Bytes>> + Unpin>(
    mut body: LimitedBody<'_, S>,
    length: Option<u64>,
    limits: &PictureLimits,
    hasher: Option<Sha256Hasher>,
    known: &'static [&'static str],
) -> Result<FoundSubmission, UploadError> {
    let text = body.read_to_end(BytesMut::new(), length).await?;
    // Parsing and decoding a large body would block other requests.
    let parsing = tokio::task::spawn_blocking(move || JsonSubmission::parse(&text, known));
    let parsed = parsing.await.map_err(|error| UploadError::Json(error.to_string()))?;
    let JsonSubmission { picture, parameters } = parsed?;
    let picture = match picture {
        JsonPicture::Bytes(picture) => picture,
        JsonPicture::Url(url) => {
            return Ok(FoundSubmission { picture: PictureOrUrl::Url(url), parameters });
        }
    };
    let picture = PictureOrUrl::Picture(checked(&picture, limits, hasher).await?);
    Ok(FoundSubmission { picture, parameters })
}

/// The picture in these bytes, which were decoded from a text.
///
/// # Errors
/// [`UploadError`] if it is none.
pub(super) async fn checked(
    picture: &[u8],
    limits: &PictureLimits,
    hasher: Option<Sha256Hasher>,
) -> Result<FoundPicture, UploadError> {
    let rejected = |error| UploadError::Picture { filename: String::new(), error };
    let mut arriving = ArrivingPicture::new(limits, picture.len() as u64, hasher);
    for piece in picture.chunks(SEGMENT_BYTES) {
        arriving.push(piece).map_err(rejected)?;
        // Hashing a large picture at once would block other requests.
        tokio::task::yield_now().await;
    }
    let (bytes, sha256) = arriving.finish().map_err(rejected)?;
    Ok(FoundPicture { name: String::new(), bytes, sha256 })
}

/// How much of a decoded picture is checked and hashed at a time.
const SEGMENT_BYTES: usize = 256 * 1024;
