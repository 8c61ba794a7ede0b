//! The body of a request that its headers permit, before it is read.

use std::{
    io,
    sync::{Arc, atomic::AtomicU64},
};

use bytes::Bytes;
use domain::Sha256Hasher;
use futures_util::{StreamExt, stream::BoxStream};
use poem::{
    Request, RequestBody,
    http::{HeaderMap, header},
};

use super::{
    cache_control::CacheControl, error::UploadError, limited_body::LimitedBody,
    multipart::printable, pace::UploadPace, rules::UploadRules,
};

/// Values of `Content-Encoding` that mean an unencoded body. All except `identity` are clients' mistakes
/// without effect.
const PLAIN_CODINGS: [&str; 7] = ["", "identity", "none", "utf-8", "binary", "7bit", "8bit"];

/// The segments of a body.
pub(super) type Segments = BoxStream<'static, io::Result<Bytes>>;

/// The body of a request, unread.
pub(super) struct IncomingBody<'a> {
    segments: Segments,
    length: Option<u64>,
    /// How many bytes it may have.
    most: u64,
    hasher: Option<Sha256Hasher>,
    rules: &'a UploadRules,
    arrived: Arc<AtomicU64>,
}

/// A body that is being read.
pub(super) struct OpenBody<'a> {
    pub(super) bytes: LimitedBody<'a, &'a mut Segments>,
    /// Its `Content-Length`, if it has one.
    pub(super) length: Option<u64>,
    /// Hashes each picture; `None` if its result is not to be cached.
    pub(super) hasher: Option<Sha256Hasher>,
    pub(super) rules: &'a UploadRules,
}

impl<'a> IncomingBody<'a> {
    /// The body of this request, which may have `most` bytes.
    ///
    /// # Errors
    /// [`UploadError`] if it is compressed, or is announced to be too large; it is not read then.
    pub(super) fn of(
        request: &Request,
        body: &mut RequestBody,
        rules: &'a UploadRules,
        most: u64,
    ) -> Result<Self, UploadError> {
        let headers = request.headers();
        check_encoding(headers)?;
        let length = content_length(headers);
        if length.is_some_and(|length| length > most) {
            return Err(UploadError::FormTooLarge { most, max_bytes: rules.limits.max_bytes });
        }
        Ok(Self {
            segments: body.take().unwrap_or_default().into_bytes_stream().boxed(),
            length,
            most,
            hasher: hasher(headers, rules),
            rules,
            arrived: Arc::default(),
        })
    }

    /// How fast it must arrive.
    pub(super) fn pace(&self) -> UploadPace {
        UploadPace { timeout: self.rules.timeout, arrived: Arc::clone(&self.arrived) }
    }

    /// What reads it.
    pub(super) fn open(&mut self) -> OpenBody<'_> {
        let limits = &self.rules.limits;
        OpenBody {
            bytes: LimitedBody::new(&mut self.segments, limits, self.most, &self.arrived),
            length: self.length,
            hasher: self.hasher.clone(),
            rules: self.rules,
        }
    }
}

/// The length of the body, as far as the client announces it.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What hashes the pictures of a request with these headers; `None` if their results are not to be cached.
pub(super) fn hasher(headers: &HeaderMap, rules: &UploadRules) -> Option<Sha256Hasher> {
    let is_kept = rules.digests && !CacheControl::of(headers).no_store;
    is_kept.then(Sha256Hasher::new)
}

/// Rejects compressed bodies: pictures are compressed already, and the decompressed size would need a limit
/// of its own.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), UploadError> {
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let value = String::from_utf8_lossy(value.as_bytes());
        for coding in value.split(',').map(str::trim) {
            if !PLAIN_CODINGS.iter().any(|plain| coding.eq_ignore_ascii_case(plain)) {
                return Err(UploadError::ContentEncoding(printable(coding).into_owned()));
            }
        }
    }
    Ok(())
}
