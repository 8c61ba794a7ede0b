//! The boundary in a request's `Content-Type`.

use poem::http::{HeaderMap, header};

use super::{parameters::parameters, text::printable};

/// RFC 2046 allows 70 bytes; some clients send more.
const MAX_BOUNDARY_BYTES: usize = 256;

/// Why a request is not accepted as a form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BoundaryError {
    #[error("the request has no Content-Type")]
    NoType,
    #[error("the request's Content-Type is '{0}'")]
    OtherType(String),
    #[error(
        "the Content-Type 'multipart/form-data' has no boundary: leave the header to the HTTP library, which \
         knows the boundary that it writes"
    )]
    NoBoundary,
    #[error(
        "the boundary in the Content-Type has {0} bytes, more than the {MAX_BOUNDARY_BYTES} allowed"
    )]
    TooLong(usize),
}

/// The boundary, byte for byte, of a request with these headers.
///
/// # Errors
/// [`BoundaryError`] if there is none, or the type is not `multipart/form-data`.
pub(crate) fn boundary_of(headers: &HeaderMap) -> Result<Vec<u8>, BoundaryError> {
    let mut found = Err(BoundaryError::NoType);
    // A client that sets the header in addition to its HTTP library sends two, and the library's has the
    // boundary.
    for value in headers.get_all(header::CONTENT_TYPE) {
        match boundary_in(value.as_bytes()) {
            Ok(boundary) => return Ok(boundary),
            Err(error) => found = found.or(Err(error)),
        }
    }
    found
}

fn boundary_in(value: &[u8]) -> Result<Vec<u8>, BoundaryError> {
    let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if !media_type.eq_ignore_ascii_case(b"multipart/form-data") {
        let found = String::from_utf8_lossy(media_type);
        return Err(BoundaryError::OtherType(printable(&found).into_owned()));
    }
    let boundary = parameters(value).into_iter().find(|(name, _)| name == "boundary");
    let (_, mut boundary) = boundary.ok_or(BoundaryError::NoBoundary)?;
    // By RFC 2046 a boundary does not end with a space.
    boundary.truncate(boundary.trim_ascii_end().len());
    match boundary.len() {
        0 => Err(BoundaryError::NoBoundary),
        1..=MAX_BOUNDARY_BYTES => Ok(boundary),
        bytes => Err(BoundaryError::TooLong(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_read_as_clients_write_them() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            boundary_of(&headers).map(|boundary| String::from_utf8(boundary).unwrap())
        };
        let cases = [
            ("multipart/form-data; boundary=X", "X"),
            ("Multipart/Form-Data;BOUNDARY = \"a b \" ; charset=utf-8", "a b"),
            ("multipart/form-data; charset=utf-8; boundary=a=b:c/d?e", "a=b:c/d?e"),
        ];
        for (value, expected) in cases {
            assert_eq!(of(value).as_deref(), Ok(expected), "{value}");
        }
        for value in ["", "; boundary", "; boundary=", "; boundary=\"  \"", " boundary=X"] {
            let found = of(&format!("multipart/form-data{value}"));
            assert!(found.is_err(), "{value}: {found:?}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(boundary_of(&headers), Err(BoundaryError::NoType));
        for value in ["multipart/form-data", "multipart/form-data; boundary=X"] {
            headers.append(header::CONTENT_TYPE, value.parse().unwrap());
        }
        assert_eq!(boundary_of(&headers), Ok(b"X".to_vec()));
        let long = format!("multipart/form-data; boundary={}", "x".repeat(257));
        assert_eq!(of(&long), Err(BoundaryError::TooLong(257)));
    }
}
