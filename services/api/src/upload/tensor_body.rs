//! The body of an inference request of the Open Inference Protocol: JSON, and behind it the contents of its tensors.

use bytes::{Bytes, BytesMut};
use domain::Sha256Hasher;
use poem::{Request, RequestBody, http::HeaderMap};

use super::{
    error::UploadError,
    incoming_body::{IncomingBody, OpenBody, content_length},
    multipart::printable,
    rules::{JSON_SLOTS, SMALL_JSON_BYTES, UploadRules, max_form_bytes, max_json_bytes},
    slots::slots_for,
    uploaded::UploadSlot,
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
        let json_length = json_length(headers)?;
        let is_small = json_length
            .or(content_length(headers))
            .is_some_and(|length| length <= SMALL_JSON_BYTES);
        let (most, slots) = match (json_length, is_small) {
            (Some(_), true) => (max_form_bytes(&rules.limits), 1),
            (None, true) => (max_json_bytes(&rules.limits), 1),
            (_, false) => (max_json_bytes(&rules.limits), JSON_SLOTS),
        };
        let mut incoming = IncomingBody::of(request, body, rules, most)?;
        let slot = slots_for(rules, slots)?;
        let pace = incoming.pace();
        let OpenBody { mut bytes, length, hasher, .. } = incoming.open();
        let bytes = pace.limit(bytes.read_to_end(BytesMut::new(), length)).await?;
        let (json, contents) = split(bytes.freeze(), json_length)?;
        Ok(Self { json, contents, hasher, slot })
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
