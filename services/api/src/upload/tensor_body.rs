//! The body of an inference request of the Open Inference Protocol: JSON, and behind it the contents of its tensors.

use std::{
    io,
    sync::{Arc, atomic::AtomicU64},
};

use super::{
    cache_control::CacheControl,
    error::UploadError,
    limited_body::LimitedBody,
    multipart::printable,
    pace::UploadPace,
    picture_form::{check_encoding, slots_for},
    rules::{
        INITIAL_CAPACITY, JSON_SLOTS, SMALL_JSON_BYTES, UploadRules, max_form_bytes, max_json_bytes,
    },
    uploaded::UploadSlot,
};
use bytes::{Bytes, BytesMut};
use domain::Sha256Hasher;
use futures_util::{Stream, StreamExt};
use poem::{
    Request, RequestBody,
    http::{HeaderMap, header},
};

/// The header with the length of the JSON, where contents follow it.
pub(crate) const JSON_LENGTH: &str = "Inference-Header-Content-Length";

/// The body of an inference request.
pub(crate) struct TensorBody {
    /// Its JSON. `None`: the whole body is the content of the only tensor.
    pub(crate) json: Option<Bytes>,
    /// What follows the JSON.
    pub(crate) contents: Bytes,
    /// Hashes each picture; `None` if its result is not to be cached.
    pub(crate) hasher: Option<Sha256Hasher>,
    /// Its permits for memory, to be held as long as the pictures.
    pub(crate) slot: UploadSlot,
}

impl TensorBody {
    /// Reads the body. All pictures in it together have the memory of one upload.
    ///
    /// # Errors
    /// [`UploadError`] if it cannot be accepted. A body that is announced to be too large is not read.
    pub(crate) async fn read(
        request: &Request,
        body: &mut RequestBody,
        rules: &UploadRules,
    ) -> Result<Self, UploadError> {
        let headers = request.headers();
        check_encoding(headers)?;
        let length = headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let json_length = json_length(headers)?;
        let is_small = json_length.or(length).is_some_and(|length| length <= SMALL_JSON_BYTES);
        let (most, slots) = match (json_length, is_small) {
            (Some(_), true) => (max_form_bytes(&rules.limits), 1),
            (None, true) => (max_json_bytes(&rules.limits), 1),
            (_, false) => (max_json_bytes(&rules.limits), JSON_SLOTS),
        };
        if length.is_some_and(|length| length > most) {
            return Err(UploadError::FormTooLarge { most, max_bytes: rules.limits.max_bytes });
        }
        let slot = slots_for(rules, slots)?;
        let segments = body.take().unwrap_or_default().into_bytes_stream().boxed();
        let arrived = Arc::new(AtomicU64::new(0));
        let pace = UploadPace { timeout: rules.timeout, arrived: Arc::clone(&arrived) };
        let body = LimitedBody::new(segments, &rules.limits, most, &arrived);
        let bytes = pace.limit(read_all(body, length.unwrap_or(INITIAL_CAPACITY))).await?;
        let is_kept = rules.digests && !CacheControl::of(headers).no_store;
        let (json, contents) = split(bytes, json_length)?;
        Ok(Self { json, contents, hasher: is_kept.then(Sha256Hasher::new), slot })
    }
}

/// The length of the JSON; `None`: that of the body.
fn json_length(headers: &HeaderMap) -> Result<Option<u64>, UploadError> {
    let Some(value) = headers.get(JSON_LENGTH) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let length = text.trim().parse().map_err(|_| {
        wrong_length(format!("must be a number of bytes, got '{}'", printable(&text)))
    })?;
    Ok(Some(length))
}

fn wrong_length(detail: String) -> UploadError {
    UploadError::Parameter {
        name: JSON_LENGTH.to_owned(),
        detail: format!("{JSON_LENGTH} {detail}"),
    }
}

async fn read_all<S: Stream<Item = io::Result<Bytes>> + Unpin>(
    mut body: LimitedBody<'_, S>,
    expected: u64,
) -> Result<Bytes, UploadError> {
    let mut bytes = BytesMut::with_capacity(usize::try_from(expected).unwrap_or_default());
    while let Some(segment) = body.next().await? {
        bytes.extend_from_slice(&segment);
    }
    Ok(bytes.freeze())
}

/// The JSON, and what follows it.
fn split(
    mut bytes: Bytes,
    json_length: Option<u64>,
) -> Result<(Option<Bytes>, Bytes), UploadError> {
    let Some(length) = json_length else { return Ok((Some(bytes), Bytes::new())) };
    match usize::try_from(length) {
        Ok(0) => Ok((None, bytes)),
        Ok(length) if length <= bytes.len() => Ok((Some(bytes.split_to(length)), bytes)),
        _ => Err(wrong_length(format!(
            "is {length}, and the body has only {} bytes: it is the length of the JSON in front of the contents",
            bytes.len()
        ))),
    }
}
