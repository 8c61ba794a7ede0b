//! A submission as a JSON object: the picture as base64 in `image` or its address in `url`, and parameters.

use std::{borrow::Cow, fmt};

use base64::{
    DecodeError, Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

use super::{
    error::{UploadError, json_error},
    rules::{IMAGE, MAX_PARAMETER_VALUES, URL},
    value_budget::ValueBudget,
};

/// Base64 with or without padding, as clients write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The content of a JSON body.
#[derive(Debug)]
pub(super) struct JsonSubmission {
    /// The picture.
    pub(super) picture: JsonPicture,
    /// Its parameters, in the order of the object.
    pub(super) parameters: Vec<(&'static str, Value)>,
}

/// The picture of a JSON body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum JsonPicture {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// Where it is.
    Url(String),
}

impl JsonSubmission {
    /// Parses a body whose object may have the members `known` beside the picture.
    ///
    /// # Errors
    /// [`UploadError`] if it is no such object.
    pub(super) fn parse(body: &[u8], known: &'static [&'static str]) -> Result<Self, UploadError> {
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let members = Members { known }.deserialize(&mut deserializer);
        let members = members.and_then(|members| deserializer.end().map(|()| members));
        let Parsed { image, url, parameters, unknown } =
            members.map_err(|error| UploadError::Json(json_error(&error)))?;
        if let Some(name) = unknown {
            let detail = format!(
                "there is no parameter '{name}'; the JSON object may have {IMAGE} or {URL}, {}",
                known.join(", ")
            );
            return Err(UploadError::Parameter { name, detail });
        }
        let picture = match (image, url) {
            (Some(_), Some(_)) => return Err(UploadError::ImageAndUrl),
            (None, None) => return Err(UploadError::NoImageMember),
            (None, Some(url)) => JsonPicture::Url(url),
            (Some(image), None) => {
                let decoded = decode(&image);
                JsonPicture::Bytes(decoded.map_err(|error| UploadError::Base64(error.to_string()))?)
            }
        };
        Ok(Self { picture, parameters })
    }
}

/// Decodes base64, also as a `data:` URL.
pub(crate) fn decode(image: &str) -> Result<Vec<u8>, DecodeError> {
    let data = match image.strip_prefix("data:").and_then(|url| url.split_once(";base64,")) {
        Some((_, data)) => data,
        None => image,
    };
    // Encoders for mail break lines, and are used for JSON too.
    if data.bytes().any(|byte| byte.is_ascii_whitespace()) {
        let data: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        return BASE64.decode(data);
    }
    BASE64.decode(data)
}

struct Parsed<'de> {
    image: Option<Cow<'de, str>>,
    url: Option<String>,
    parameters: Vec<(&'static str, Value)>,
    /// The first member that is neither.
    unknown: Option<String>,
}

/// A text that is borrowed from the body where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Members {
    known: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for Members {
    type Value = Parsed<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Parsed<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the picture as base64 in '{IMAGE}', or its address in '{URL}'")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut parsed = Parsed { image: None, url: None, parameters: Vec::new(), unknown: None };
        let mut values = ValueBudget::of(MAX_PARAMETER_VALUES);
        while let Some(Text(name)) = map.next_key()? {
            let known = self.known.iter().find(|known| **known == name);
            match (&*name, known) {
                (IMAGE, _) => parsed.image = Some(map.next_value::<Text<'de>>()?.0),
                (URL, _) => parsed.url = Some(map.next_value()?),
                (_, Some(known)) => {
                    parsed.parameters.push((known, map.next_value_seed(&mut values)?));
                }
                (_, None) => {
                    map.next_value::<IgnoredAny>()?;
                    parsed.unknown.get_or_insert_with(|| shown(&name));
                }
            }
        }
        Ok(parsed)
    }
}

/// The start of a name, without control characters.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["iou", "classes"];

    #[test]
    fn the_picture_is_decoded_and_parameters_are_kept() {
        let bodies = [
            r#"{"image":"AP8Q/w==","iou":0.5}"#,
            r#" {"iou":0.5,"image":"AP8Q\/w"} "#,
            r#"{"image":"data:image/png;base64,AP8Q/w==","iou":0.5}"#,
            r#"{"image":"AP8Q\r\n/w==\n","iou":0.5}"#,
        ];
        for body in bodies {
            let parsed = JsonSubmission::parse(body.as_bytes(), KNOWN).unwrap();
            assert_eq!(parsed.picture, JsonPicture::Bytes(vec![0, 255, 16, 255]), "{body}");
            assert_eq!(parsed.parameters, [("iou", Value::from(0.5))], "{body}");
        }
    }

    #[test]
    fn a_url_stands_in_place_of_the_picture() {
        let body = br#"{"iou":0.5,"url":"https:\/\/example.com/a.jpg"}"#;
        let parsed = JsonSubmission::parse(body, KNOWN).unwrap();
        assert_eq!(parsed.picture, JsonPicture::Url("https://example.com/a.jpg".to_owned()));
        assert_eq!(parsed.parameters, [("iou", Value::from(0.5))]);
    }

    #[test]
    fn the_values_of_all_parameters_are_counted() {
        let list =
            |name: &str, zeros: usize| format!("\"{name}\":[{}]", vec!["0"; zeros].join(","));
        let body = |parameters: &[String]| format!(r#"{{"image":"",{}}}"#, parameters.join(","));
        let most = list("classes", MAX_PARAMETER_VALUES - 1);
        assert!(JsonSubmission::parse(body(&[most]).as_bytes(), KNOWN).is_ok());
        // A name may be there more than once.
        let twice = vec![list("classes", MAX_PARAMETER_VALUES / 2); 2];
        let one_more = vec![list("classes", MAX_PARAMETER_VALUES)];
        let nested = vec![format!(r#""iou":[[{}]]"#, vec!["0"; MAX_PARAMETER_VALUES].join(","))];
        for parameters in [twice, one_more, nested] {
            let parsed = JsonSubmission::parse(body(&parameters).as_bytes(), KNOWN);
            let error = parsed.unwrap_err().to_string();
            assert!(error.contains("there are more than 1024 values"), "{error}");
        }
    }

    #[test]
    fn other_bodies_are_rejected_in_words() {
        let cases = [
            ("", "the JSON body cannot be read: EOF"),
            ("[]", "expected an object with the picture as base64 in 'image'"),
            (r#"{"image":1}"#, "invalid type: integer"),
            (r#"{"image":"a"} {}"#, "trailing characters"),
            (r#"{"image":"%"}"#, "image is not base64"),
            (r#"{"iou":1}"#, "the JSON object has neither 'image'"),
            (r#"{"url":1}"#, "invalid type: integer"),
            (r#"{"url":"x","image":""}"#, "image and url exclude each other"),
            (r#"{"image":"","confidance":1}"#, "there is no parameter 'confidance'"),
        ];
        for (body, expected) in cases {
            let error = JsonSubmission::parse(body.as_bytes(), KNOWN).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }
}
