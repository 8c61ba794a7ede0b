//! Which of the accepted bodies a submission has, by its headers.

use poem::http::HeaderMap;

use super::multipart::{BoundaryError, boundary_of};

/// The bodies that a route accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// Forms, as the original application.
    Forms,
    /// Forms, the bytes of a picture, and JSON.
    All,
}

/// The body of a submission.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// A form with this boundary.
    Form(Vec<u8>),
    /// The bytes of the picture.
    Picture,
    /// A JSON object with the picture as base64.
    Json,
}

impl BodyKind {
    /// The kind of body that these headers announce.
    ///
    /// # Errors
    /// [`BoundaryError`] if it is none of `accepted`.
    pub(super) fn of(headers: &HeaderMap, accepted: Bodies) -> Result<Self, BoundaryError> {
        match boundary_of(headers) {
            Ok(boundary) => Ok(Self::Form(boundary)),
            Err(BoundaryError::OtherType(media_type)) if accepted == Bodies::All => {
                Self::of_type(&media_type.to_ascii_lowercase())
                    .ok_or(BoundaryError::OtherType(media_type))
            }
            Err(error) => Err(error),
        }
    }

    fn of_type(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json" | "text/json" => Some(Self::Json),
            "application/octet-stream" => Some(Self::Picture),
            image if image.starts_with("image/") => Some(Self::Picture),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use poem::http::header::CONTENT_TYPE;

    use super::*;

    #[test]
    fn the_media_type_decides() {
        let cases = [
            ("multipart/form-data; boundary=X", Some(BodyKind::Form(b"X".to_vec()))),
            ("image/jpeg", Some(BodyKind::Picture)),
            ("Image/PNG; q=1", Some(BodyKind::Picture)),
            ("application/octet-stream", Some(BodyKind::Picture)),
            ("application/json; charset=utf-8", Some(BodyKind::Json)),
            ("application/x-www-form-urlencoded", None),
            ("text/plain", None),
        ];
        for (value, expected) in cases {
            let headers = [(CONTENT_TYPE, value.parse().unwrap())].into_iter().collect();
            assert_eq!(BodyKind::of(&headers, Bodies::All).ok(), expected, "{value}");
            let form = expected.filter(|kind| matches!(kind, BodyKind::Form(_)));
            assert_eq!(BodyKind::of(&headers, Bodies::Forms).ok(), form, "{value}");
        }
    }
}
