//! The request body of a submission.

use std::marker::PhantomData;

use opentelemetry::{KeyValue, trace::SpanBuilder};
use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef},
};
use serde_json::{Value, json};
use service::telemetry::traces;

use super::{
    body_kind::{Bodies, BodyKind},
    error::{FieldsSent, UploadError},
    fetch::PictureUrl,
    form::{Form, FoundPicture},
    incoming_body::{IncomingBody, OpenBody, content_length},
    multipart::BoundaryError,
    plain_body::{FoundSubmission, PictureOrUrl, file_name, read_json, read_picture},
    rules::{FIELD, FileNames, IMAGE, URL, UploadRules, max_form_bytes, max_json_bytes},
    slots::{json_slots, slots_for},
    uploaded::UploadedPicture,
};

/// What a client submits.
pub(crate) struct Submitted {
    pub(crate) picture: SubmittedPicture,
    /// The route's parameters in the body, by name.
    pub(crate) parameters: Vec<(&'static str, Value)>,
}

/// A picture that was sent, or one that is to be fetched.
pub(crate) enum SubmittedPicture {
    Sent(UploadedPicture),
    At(Box<PictureUrl>),
}

impl SubmittedPicture {
    /// The picture, which is fetched if it was not sent.
    ///
    /// # Errors
    /// [`UploadError`] if it cannot be fetched.
    pub(crate) async fn complete(self) -> Result<UploadedPicture, UploadError> {
        match self {
            Self::Sent(picture) => Ok(picture),
            Self::At(url) => url.fetch().await,
        }
    }
}

/// A route that accepts submissions.
pub(crate) trait SubmissionRoute: Send + Sync + 'static {
    const NAMES: FileNames;
    const BODIES: Bodies;
    /// The parameters that may be in the body.
    const PARAMETERS: &'static [&'static str];
    /// The description of its body in the document.
    const DESCRIPTION: &'static str;

    /// The schemas of its parameters, for the document.
    fn parameter_schemas() -> Vec<(&'static str, MetaSchemaRef)>;
}

/// The request body of a submission.
///
/// The extractor never fails: each route renders errors for its own clients.
pub(crate) struct PictureForm<R>(
    pub(crate) Result<Submitted, UploadError>,
    pub(crate) PhantomData<R>,
);

impl<'a, R: SubmissionRoute> ApiExtractor<'a> for PictureForm<R> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let object = |pictures: Vec<(&'static str, MetaSchema)>| {
            let mut object = MetaSchema::new("object");
            // One of several is required, which the framework cannot say.
            object.required = match *pictures {
                [(only, _)] => vec![only],
                _ => Vec::new(),
            };
            let pictures = pictures.into_iter().map(|(name, schema)| (name, inline(schema)));
            object.properties = pictures.chain(R::parameter_schemas()).collect();
            object
        };
        let form = object(vec![(FIELD, picture_schema())]);
        let mut content =
            vec![MetaMediaType { content_type: "multipart/form-data", schema: inline(form) }];
        if R::BODIES == Bodies::All {
            for content_type in ["image/*", "application/octet-stream"] {
                content.push(MetaMediaType { content_type, schema: inline(picture_schema()) });
            }
            let mut base64 = MetaSchema::new_with_format("string", "byte");
            base64.description = Some("The picture as base64, or as a `data:` URL.");
            let mut url = MetaSchema::new_with_format("string", "uri");
            url.description = Some(
                "Where the picture is, in place of `image`: an `https` URL of a public server. The API \
                 fetches it before it answers.",
            );
            let mut object = object(vec![(IMAGE, base64), (URL, url)]);
            object.example = Some(json!({
                "url": "https://example.com/pictures/bus.jpg",
                "confidence": 0.5,
                "metadata": { "camera": "door" },
            }));
            content
                .push(MetaMediaType { content_type: "application/json", schema: inline(object) });
        }
        Some(MetaRequest { description: Some(R::DESCRIPTION), content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let rules = request.data::<UploadRules>().ok_or_else(|| {
            poem::Error::from_string(
                "no upload rules",
                poem::http::StatusCode::INTERNAL_SERVER_ERROR,
            )
        })?;
        let span = traces::span(|| SpanBuilder::from_name("receive picture"));
        let picture = span.around(read::<R>(request, body, rules)).await;
        match &picture {
            Ok(Submitted { picture: SubmittedPicture::At(_), .. }) => {}
            Ok(Submitted { picture: SubmittedPicture::Sent(picture), .. }) => {
                let bytes = i64::try_from(picture.bytes.len()).unwrap_or(i64::MAX);
                span.set(|| [KeyValue::new("spotter.picture.bytes", bytes)]);
            }
            Err(error) => span.fail("refused", || error.to_string()),
        }
        Ok(Self(picture, PhantomData))
    }
}

fn picture_schema() -> MetaSchema {
    let mut picture = MetaSchema::new_with_format("string", "binary");
    picture.description =
        Some("The picture: a JPEG, PNG, WebP, BMP or GIF (its first frame) file.");
    picture
}

fn inline(schema: MetaSchema) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(schema))
}

async fn read<R: SubmissionRoute>(
    request: &Request,
    body: &mut RequestBody,
    rules: &UploadRules,
) -> Result<Submitted, UploadError> {
    let headers = request.headers();
    let length = content_length(headers);
    let kind = match BodyKind::of(headers, R::BODIES) {
        // A form without fields may have an empty body.
        Ok(BodyKind::Form(_)) | Err(BoundaryError::NoBoundary) if length == Some(0) => {
            return Err(UploadError::NoPicture(FieldsSent::default()));
        }
        kind => kind?,
    };
    let (most, slots) = match kind {
        BodyKind::Form(_) | BodyKind::Picture => (max_form_bytes(&rules.limits), 1),
        BodyKind::Json => (max_json_bytes(&rules.limits), json_slots(length)),
    };
    let mut incoming = IncomingBody::of(request, body, rules, most)?;
    let slot = slots_for(rules, slots)?;
    let pace = incoming.pace();
    let OpenBody { bytes, hasher, .. } = incoming.open();
    let reading = async {
        match kind {
            BodyKind::Form(boundary) => {
                let mut form = Form::new(bytes, length, &boundary, &rules.limits);
                let found = form.find_picture(R::NAMES, R::PARAMETERS, hasher.clone()).await?;
                let (picture, parameters) = found;
                Ok(FoundSubmission { picture: PictureOrUrl::Picture(picture), parameters })
            }
            BodyKind::Picture => {
                let name = file_name(headers)?;
                let picture = read_picture(bytes, name, length, &rules.limits, hasher.clone());
                let picture = PictureOrUrl::Picture(picture.await?);
                Ok(FoundSubmission { picture, parameters: Vec::new() })
            }
            BodyKind::Json => {
                read_json(bytes, length, &rules.limits, hasher.clone(), R::PARAMETERS).await
            }
        }
    };
    let FoundSubmission { picture, parameters } = pace.limit::<_, UploadError>(reading).await?;
    let picture = match picture {
        PictureOrUrl::Picture(FoundPicture { name, bytes, sha256 }) => {
            SubmittedPicture::Sent(UploadedPicture { name, bytes, sha256, slot })
        }
        PictureOrUrl::Url(url) => {
            let url = PictureUrl::new(&url, rules.clone(), hasher, slot)?;
            SubmittedPicture::At(Box::new(url))
        }
    };
    Ok(Submitted { picture, parameters })
}
