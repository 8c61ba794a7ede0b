//! The boundary that a request's `Content-Type` names.

use poem::http::{HeaderMap, header};

use super::{parameters::parameters, shown};

/// RFC 2046 allows 70 bytes; some clients write more.
const LONGEST_BOUNDARY: usize = 256;

/// Why a request is not taken for a form.
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
        "the boundary in the Content-Type has {0} bytes, more than the {LONGEST_BOUNDARY} allowed"
    )]
    TooLong(usize),
}

/// The boundary, byte for byte, of a request with these headers.
///
/// # Errors
/// [`BoundaryError`] if there is none, or the body is not said to be `multipart/form-data`.
pub(crate) fn boundary_of(headers: &HeaderMap) -> Result<Vec<u8>, BoundaryError> {
    let value = headers.get(header::CONTENT_TYPE).ok_or(BoundaryError::NoType)?.as_bytes();
    let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if !media_type.eq_ignore_ascii_case(b"multipart/form-data") {
        let found = String::from_utf8_lossy(media_type);
        return Err(BoundaryError::OtherType(shown(&found).into_owned()));
    }
    let boundary = parameters(value).into_iter().find(|(name, _)| name == "boundary");
    let (_, mut boundary) = boundary.ok_or(BoundaryError::NoBoundary)?;
    // It ends at its last character that is no space, says RFC 2046.
    boundary.truncate(boundary.trim_ascii_end().len());
    match boundary.len() {
        0 => Err(BoundaryError::NoBoundary),
        1..=LONGEST_BOUNDARY => Ok(boundary),
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
        assert_eq!(boundary_of(&HeaderMap::new()), Err(BoundaryError::NoType));
        let long = format!("multipart/form-data; boundary={}", "x".repeat(257));
        assert_eq!(of(&long), Err(BoundaryError::TooLong(257)));
    }
}
