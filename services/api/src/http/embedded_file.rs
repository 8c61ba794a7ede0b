//! A file that is part of the program, such as a script of a page.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use poem::{
    IntoResponse, Response,
    http::{HeaderMap, HeaderValue, StatusCode, header},
};

use super::entity_tag::{entity_tag, matches};

/// A file that is part of the program, compressed once at startup.
#[derive(Clone)]
pub(super) struct EmbeddedFile {
    media_type: &'static str,
    cache_control: &'static str,
    /// Without `W/`, which responses have: plain and compressed bytes are the same content.
    tag: String,
    plain: Bytes,
    gzipped: Bytes,
}

impl EmbeddedFile {
    /// # Errors
    /// If it cannot be compressed; memory is the only thing that it needs.
    pub(super) fn new(
        media_type: &'static str,
        cache_control: &'static str,
        plain: impl Into<Bytes>,
    ) -> io::Result<Self> {
        let plain = plain.into();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&plain)?;
        let gzipped = encoder.finish()?.into();
        Ok(Self { media_type, cache_control, tag: entity_tag(&plain), plain, gzipped })
    }

    /// The response to a request with these headers: the file, or a 304 if the client has it.
    pub(super) fn answer(&self, request: &HeaderMap) -> Response {
        let known = request.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
        let mut answer = match known {
            Some(known) if matches(known, &self.tag) => StatusCode::NOT_MODIFIED.into_response(),
            _ => self.content(request),
        };
        let headers = answer.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.cache_control));
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
        if let Ok(tag) = HeaderValue::from_str(&format!("W/{}", self.tag)) {
            headers.insert(header::ETAG, tag);
        }
        answer
    }

    fn content(&self, request: &HeaderMap) -> Response {
        let mut answer = match accepts_gzip(request) {
            true => self.gzipped.clone().into_response(),
            false => self.plain.clone().into_response(),
        };
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        if accepts_gzip(request) {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        answer
    }
}

/// Whether `Accept-Encoding` names gzip and does not exclude it (RFC 9110, section 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    let mut codings = values.filter_map(|value| value.to_str().ok()).flat_map(|all| all.split(','));
    codings.any(|coding| {
        let (name, parameter) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let quality = parameter.trim().strip_prefix("q=").and_then(|text| text.parse().ok());
        name.trim().eq_ignore_ascii_case("gzip")
            && quality.is_some_and(|quality: f32| quality > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_clients_that_name_it() {
        for (value, expected) in [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, GZIP;q=0.8", true),
            ("deflate, gzip;q=0", false),
            ("gzip;q=0.000", false),
            ("identity", false),
            ("x-gzip", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
