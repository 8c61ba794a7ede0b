//! The bodies of these routes, with the API key in them, in the query or in a header.

use percent_encoding::percent_decode_str;
use poem::{
    Request, RequestBody,
    http::{StatusCode, Uri},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef},
};
use serde::de::DeserializeOwned;

use super::{
    error::RoboflowError,
    request::{InferenceRequest, ModelRequest, NoMembers, member},
};
use crate::{
    auth::{
        Caller,
        guard::{Guard, Purpose},
    },
    routes::body_error::BodyError,
    tasks::Tasks,
    upload::{
        BodyPictures, UnreadBody, UnreadKind, UploadRules, cache_control::CacheControl, parse,
    },
};

const API_KEY: &str = "api_key";

/// What is in a body.
pub(super) struct Sent<T> {
    /// Who has sent it.
    pub(super) caller: Caller,
    pub(super) content: T,
    /// What makes uploads of its pictures, if it may have some.
    pub(super) pictures: Option<BodyPictures>,
    /// Whether to run the model even if the result is cached.
    pub(super) no_cache: bool,
}

/// What a route takes.
pub(super) trait Content: DeserializeOwned + Send + 'static {
    const PURPOSE: Purpose;
    /// Its members, for the document: name, type, description.
    const MEMBERS: &'static [(&'static str, &'static str, &'static str)];
    const REQUIRED: &'static [&'static str];
}

const KEY_MEMBER: (&str, &str, &str) = (
    API_KEY,
    "string",
    "The API key, where the API runs with `AUTH=keys`, unless a header or the query has it. Before the pictures.",
);

impl Content for NoMembers {
    const PURPOSE: Purpose = Purpose::Read;
    const MEMBERS: &'static [(&'static str, &'static str, &'static str)] = &[];
    const REQUIRED: &'static [&'static str] = &[];
}

impl Content for ModelRequest {
    const PURPOSE: Purpose = Purpose::Read;
    const MEMBERS: &'static [(&'static str, &'static str, &'static str)] =
        &[KEY_MEMBER, ("model_id", "string", "The name of the model, or `PROJECT/VERSION`.")];
    const REQUIRED: &'static [&'static str] = &["model_id"];
}

impl Content for InferenceRequest {
    const PURPOSE: Purpose = Purpose::Submit;
    const MEMBERS: &'static [(&'static str, &'static str, &'static str)] = &[
        KEY_MEMBER,
        (
            "model_id",
            "string",
            "The model, one of `/model/registry`. `PROJECT/VERSION` is the model `PROJECT-VERSION`.",
        ),
        (
            "image",
            "",
            "The picture: `{\"type\": \"base64\", \"value\": …}`, or of type `url`; or a list of up to 32.",
        ),
        ("confidence", "", "The least confidence of a prediction, from 0 to 1. Default 0.4."),
        (
            "iou_threshold",
            "number",
            "Two boxes of a class overlapping more than this, from 0 to 1, are one object. Default 0.3.",
        ),
        (
            "class_agnostic_nms",
            "boolean",
            "Whether boxes of different classes are, too. Default false.",
        ),
        ("class_filter", "", "The names of the classes to report. Default: all."),
        ("max_detections", "integer", "The most predictions, from 1 to 1000. Default 300."),
        (
            "visualize_predictions",
            "boolean",
            "Whether the answer has the picture with the boxes drawn in. Default false.",
        ),
    ];
    const REQUIRED: &'static [&'static str] = &["model_id", "image"];
}

/// The body of a request. The extractor never fails: each route reports errors.
pub(super) struct KeyedBody<T>(pub(super) Result<Sent<T>, RoboflowError>);

impl<'a, T: Content> ApiExtractor<'a> for KeyedBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        if T::MEMBERS.is_empty() {
            return None;
        }
        let property = |(name, kind, description): &(&'static str, &'static str, &'static str)| {
            let schema = match *kind {
                "" => MetaSchema::ANY,
                kind => MetaSchema::new(kind),
            };
            let schema = MetaSchema { description: Some(description), ..schema };
            (*name, MetaSchemaRef::Inline(Box::new(schema)))
        };
        let object = MetaSchema {
            properties: T::MEMBERS.iter().map(property).collect(),
            required: T::REQUIRED.to_vec(),
            ..MetaSchema::new("object")
        };
        let schema = MetaSchemaRef::Inline(Box::new(object));
        let content = vec![MetaMediaType { content_type: "application/json", schema }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let sources = (request.data::<UploadRules>(), request.data::<Guard>());
        let ((Some(rules), Some(guard)), Some(tasks)) = (sources, request.data::<Tasks>()) else {
            let text = "no upload rules";
            return Err(poem::Error::from_string(text, StatusCode::INTERNAL_SERVER_ERROR));
        };
        let read = read(request, body, rules, guard).await;
        Ok(Self(read.map_err(|error| error.counted(&tasks.metrics))))
    }
}

async fn read<T: Content>(
    request: &Request,
    body: &mut RequestBody,
    rules: &UploadRules,
    guard: &Guard,
) -> Result<Sent<T>, BodyError<RoboflowError>> {
    let of_headers = guard.admit_by_headers(request.headers(), T::PURPOSE).await;
    let mut caller = of_headers.transpose().map_err(RoboflowError::from)?;
    if caller.is_none()
        && let Some(key) = key_in(request.uri())
    {
        let admitted = guard.admit_by_body(Some(&key), T::PURPOSE).await;
        caller = Some(admitted.map_err(RoboflowError::from)?);
    }
    let no_cache = CacheControl::of(request.headers()).no_cache;
    let mut body = UnreadBody::of(request, body, rules, UnreadKind::Json)?;
    let pace = body.pace();
    let reading = async {
        let mut json = body.json();
        let start = json.start().await?;
        let caller = match caller {
            Some(admitted) => admitted.caller,
            None => {
                let key = member(start, API_KEY).filter(|key| !key.is_empty());
                let admitted = guard.admit_by_body(key.as_deref(), T::PURPOSE).await;
                admitted.map_err(RoboflowError::from)?.caller
            }
        };
        if T::PURPOSE == Purpose::Submit {
            let (content, pictures) = json.read().await?;
            return Ok(Sent { caller, content, pictures: Some(pictures), no_cache });
        }
        let content = match start {
            [] => parse(b"{}")?,
            start => parse(start)?,
        };
        Ok(Sent { caller, content, pictures: None, no_cache })
    };
    pace.limit(reading).await
}

/// The key in the query, where the client puts it in lists. One without a key writes `None`.
fn key_in(uri: &Uri) -> Option<String> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    let values = pairs.filter(|(name, _)| *name == API_KEY).map(|(_, value)| value);
    let mut keys = values.map(|value| percent_decode_str(value).decode_utf8_lossy().into_owned());
    keys.find(|key| !key.is_empty() && key != "None")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_query_is_decoded() {
        for (uri, expected) in [
            ("/model/registry?api_key=spotter_a%5Fb", Some("spotter_a_b")),
            ("/model/registry?countinference=False&api_key=k", Some("k")),
            ("/model/registry?api_key=None", None),
            ("/model/registry?api_key=", None),
            ("/model/registry", None),
        ] {
            assert_eq!(key_in(&uri.parse().unwrap()).as_deref(), expected, "{uri}");
        }
    }
}
