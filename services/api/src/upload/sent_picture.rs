//! A picture in the JSON of a client of another server: its bytes as base64, or its URL.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

use super::json_body::decode;

/// A picture as it was sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SentPicture {
    /// Its bytes, unchecked.
    Bytes(Vec<u8>),
    /// Where it is.
    Url(String),
}

impl SentPicture {
    /// The picture that `text` is in base64, or in a `data:` URL.
    ///
    /// # Errors
    /// In words, if it is neither.
    pub(crate) fn of_base64(text: &str) -> Result<Self, String> {
        let bytes = decode(text).map_err(|error| format!("the picture is not base64: {error}"))?;
        Ok(Self::Bytes(bytes))
    }
}

/// A text: a URL if it begins as one, and otherwise base64, whose alphabet has no colon.
impl<'de> Deserialize<'de> for SentPicture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = SentPicture;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a picture as base64, or its URL")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SentPicture, E> {
        if ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(SentPicture::Url(text.to_owned()));
        }
        SentPicture::of_base64(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_base64_or_a_url() {
        let of = |text: &str| serde_json::from_str::<SentPicture>(text).map_err(|e| e.to_string());
        let bytes = || Ok(SentPicture::Bytes(vec![0, 255, 16, 255]));
        assert_eq!(of(r#""AP8Q/w==""#), bytes());
        assert_eq!(of(r#""data:image/png;base64,AP8Q\/w==""#), bytes());
        for url in ["https://example.com/a.jpg", "http://example.com/a.jpg"] {
            assert_eq!(of(&format!("\"{url}\"")), Ok(SentPicture::Url(url.to_owned())));
        }
        for (text, expected) in [
            (r#""file:///etc/passwd""#, "the picture is not base64"),
            (r#""%""#, "the picture is not base64"),
            ("7", "invalid type: integer `7`, expected a picture as base64, or its URL"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
