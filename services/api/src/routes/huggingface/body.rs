//! The bodies of these routes: the bytes of a picture, or JSON with it and the threshold.

use domain::ConfidenceThreshold;
use poem::{
    Request, RequestBody,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef},
};
use serde::Deserialize;
use serde_json::Number;

use super::error::DetectError;
use crate::{
    routes::{body_error::BodyError, held_error::HeldError},
    tasks::Tasks,
    upload::{SentPicture, UnreadBody, UnreadKind, UploadRules, UploadedPicture},
};

/// `threshold` of a request without one: that of Hugging Face's own pipeline.
const DEFAULT_THRESHOLD: &str = "0.5";

/// What a client sends.
pub(super) struct SentDetection {
    pub(super) picture: UploadedPicture,
    pub(super) threshold: ConfidenceThreshold,
}

/// The body of a request. The extractor never fails: the route reports errors.
pub(super) struct DetectionBody(pub(super) Result<SentDetection, DetectError>);

#[derive(Deserialize)]
struct Payload {
    inputs: SentPicture,
    parameters: Option<Parameters>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    threshold: Option<Number>,
}

impl<'a> ApiExtractor<'a> for DetectionBody {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let inline = |schema| MetaSchemaRef::Inline(Box::new(schema));
        let described =
            |schema, description| MetaSchema { description: Some(description), ..schema };
        let picture = described(
            MetaSchema::new_with_format("string", "binary"),
            "The picture: a JPEG, PNG, WebP, BMP or GIF (its first frame) file.",
        );
        let inputs = described(
            MetaSchema::new("string"),
            "The picture as base64, or its URL: an `https` URL of a public server.",
        );
        let threshold = described(
            MetaSchema::new_with_format("number", "float"),
            "The least score of an object, from 0 to 1. Default 0.5.",
        );
        let parameters = MetaSchema {
            properties: vec![("threshold", inline(threshold))],
            ..MetaSchema::new("object")
        };
        let object = MetaSchema {
            properties: vec![("inputs", inline(inputs)), ("parameters", inline(parameters))],
            required: vec!["inputs"],
            ..MetaSchema::new("object")
        };
        let content = [
            ("image/*", picture.clone()),
            ("application/octet-stream", picture),
            ("application/json", object),
        ];
        let media = |(content_type, schema)| MetaMediaType { content_type, schema: inline(schema) };
        let content = content.into_iter().map(media).collect();
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let (Some(rules), Some(tasks)) = (request.data::<UploadRules>(), request.data::<Tasks>())
        else {
            let text = "no upload rules";
            return Err(poem::Error::from_string(text, StatusCode::INTERNAL_SERVER_ERROR));
        };
        let read = read(request, body, rules).await;
        Ok(Self(read.map_err(|error| error.counted(&tasks.metrics))))
    }
}

async fn read(
    request: &Request,
    body: &mut RequestBody,
    rules: &UploadRules,
) -> Result<SentDetection, BodyError<DetectError>> {
    let kind = kind_of(request.headers());
    let mut body = UnreadBody::of(request, body, rules, kind)?;
    let pace = body.pace();
    match kind {
        UnreadKind::Picture => {
            let picture = pace.limit(body.picture()).await?;
            Ok(SentDetection { picture, threshold: threshold(None)? })
        }
        UnreadKind::Json => {
            let (payload, pictures) = pace.limit(body.json().read::<Payload>()).await?;
            let threshold = threshold(payload.parameters.unwrap_or_default().threshold)?;
            let picture = pictures.complete(payload.inputs).await?;
            Ok(SentDetection { picture, threshold })
        }
    }
}

/// What is not JSON is a picture: clients send one with its media type, with another one, or with none.
fn kind_of(headers: &HeaderMap) -> UnreadKind {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    match media_type.trim().eq_ignore_ascii_case("application/json") {
        true => UnreadKind::Json,
        false => UnreadKind::Picture,
    }
}

fn threshold(given: Option<Number>) -> Result<ConfidenceThreshold, DetectError> {
    let text = given.map_or_else(|| DEFAULT_THRESHOLD.to_owned(), |number| number.to_string());
    text.parse().map_err(|_| {
        let error = format!("threshold must be a number from 0 to 1, got {text}");
        HeldError::new(StatusCode::BAD_REQUEST, error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_json_is_a_picture() {
        for (value, expected) in [
            (Some("application/json"), UnreadKind::Json),
            (Some("Application/JSON; charset=utf-8"), UnreadKind::Json),
            (Some("image/jpeg"), UnreadKind::Picture),
            (Some("application/x-www-form-urlencoded"), UnreadKind::Picture),
            (None, UnreadKind::Picture),
        ] {
            let value = value.map(|value| (CONTENT_TYPE, value.parse().unwrap()));
            assert_eq!(kind_of(&value.clone().into_iter().collect()), expected, "{value:?}");
        }
    }

    #[test]
    fn a_threshold_is_from_0_to_1() {
        for (text, expected) in [
            ("0", Some(0.0)),
            ("0.25", Some(0.25)),
            ("1", Some(1.0)),
            ("-1", None),
            ("1.5", None),
            ("1e300", None),
        ] {
            let number: Number = serde_json::from_str(text).unwrap();
            assert_eq!(
                threshold(Some(number)).ok().map(|threshold| threshold.get()),
                expected,
                "{text}"
            );
        }
        assert_eq!(threshold(None).ok().unwrap().get(), 0.5);
    }
}
