//! The bodies of inference requests and of the answers to them: JSON, and behind it the contents of tensors.

use poem::{
    IntoResponse, Request, RequestBody, Response,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions,
    registry::{
        MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef,
        Registry,
    },
    types::{ToJSON, Type},
};

use super::schema::{InferenceAnswer, InferenceRequest};
use crate::upload::{JSON_LENGTH, TensorBody, UploadError, UploadRules};

/// JSON alone.
const JSON: &str = "application/json";
/// JSON, and contents behind it.
const BINARY: &str = "application/octet-stream";

/// The body of a request. The extractor never fails: the route reports errors.
pub(super) struct InferenceBody(pub(super) Result<TensorBody, UploadError>);

impl<'a> ApiExtractor<'a> for InferenceBody {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        InferenceRequest::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let description = "The pictures as base64 in the JSON; or behind the JSON, each after its length (four bytes, \
            little-endian), with the length of the JSON in the header `Inference-Header-Content-Length`. With 0 in that header the body \
            is one picture and nothing else.";
        let content = vec![
            MetaMediaType { content_type: JSON, schema: InferenceRequest::schema_ref() },
            MetaMediaType { content_type: BINARY, schema: bytes() },
        ];
        Some(MetaRequest { description: Some(description), content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let rules: &UploadRules = request.data().ok_or_else(|| {
            poem::Error::from_string("no upload rules", StatusCode::INTERNAL_SERVER_ERROR)
        })?;
        Ok(Self(TensorBody::read(request, body, rules).await))
    }
}

fn bytes() -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "binary")))
}

/// An answer, and what follows its JSON.
pub(super) struct AnswerBody {
    pub(super) answer: InferenceAnswer,
    pub(super) contents: Vec<u8>,
}

impl ApiResponse for AnswerBody {
    fn meta() -> MetaResponses {
        let content = vec![
            MetaMediaType { content_type: JSON, schema: InferenceAnswer::schema_ref() },
            MetaMediaType { content_type: BINARY, schema: bytes() },
        ];
        let description = "What was found. If an output follows the JSON, the header \
            `Inference-Header-Content-Length` has the length of the JSON.";
        let response = MetaResponse {
            description,
            status: Some(200),
            status_range: None,
            content,
            headers: Vec::new(),
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(registry: &mut Registry) {
        InferenceAnswer::register(registry);
    }
}

impl IntoResponse for AnswerBody {
    fn into_response(self) -> Response {
        let Self { answer, contents } = self;
        let is_binary = answer.outputs.iter().any(|output| output.is_behind());
        let mut body = answer.to_json_string().into_bytes();
        if !is_binary {
            return body.with_content_type(JSON).into_response();
        }
        let length = HeaderValue::from(body.len());
        body.extend(contents);
        let mut response = body.into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(BINARY));
        headers.insert(JSON_LENGTH, length);
        response
    }
}
