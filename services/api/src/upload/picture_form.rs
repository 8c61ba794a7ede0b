//! The request body of a submission.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use domain::Sha256Hasher;
use opentelemetry::{KeyValue, trace::SpanBuilder};
use poem::{
    Request, RequestBody,
    http::{HeaderMap, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef},
};
use serde_json::{Value, json};
use service::telemetry::traces;

use super::{
    body_kind::{Bodies, BodyKind},
    cache_control::CacheControl,
    error::{FieldsSent, UploadError},
    fetch::PictureUrl,
    form::{Form, FoundPicture},
    limited_body::LimitedBody,
    multipart::{BoundaryError, printable},
    plain_body::{FoundSubmission, PictureOrUrl, file_name, read_json, read_picture},
    rules::{
        FIELD, FileNames, IMAGE, JSON_SLOTS, MIN_BYTES_PER_SECOND, RATE_GRACE, SMALL_JSON_BYTES,
        URL, UploadRules, max_form_bytes, max_json_bytes,
    },
    uploaded::{UploadSlot, UploadedPicture},
};

/// Values of `Content-Encoding` that mean an unencoded body. All except `identity` are clients' mistakes
/// without effect.
const PLAIN_CODINGS: [&str; 7] = ["", "identity", "none", "utf-8", "binary", "7bit", "8bit"];
const RATE_CHECK_EVERY: Duration = Duration::from_secs(1);

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
    let length = headers.get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse().ok());
    let kind = match BodyKind::of(headers, R::BODIES) {
        // A form without fields may have an empty body.
        Ok(BodyKind::Form(_)) | Err(BoundaryError::NoBoundary) if length == Some(0) => {
            return Err(UploadError::NoPicture(FieldsSent::default()));
        }
        kind => kind?,
    };
    check_encoding(headers)?;
    let (most, slots) = match kind {
        BodyKind::Form(_) | BodyKind::Picture => (max_form_bytes(&rules.limits), 1),
        BodyKind::Json => (max_json_bytes(&rules.limits), json_slots(length)),
    };
    if length.is_some_and(|length| length > most) {
        // The client announces it: rejected without reading the body.
        return Err(UploadError::FormTooLarge { most, max_bytes: rules.limits.max_bytes });
    }
    let slot = slots_for(rules, slots)?;
    let segments = body.take().unwrap_or_default().into_bytes_stream();
    let arrived = AtomicU64::new(0);
    let body = LimitedBody::new(segments, &rules.limits, most, &arrived);
    let is_kept = rules.digests && !CacheControl::of(headers).no_store;
    let hasher = is_kept.then(Sha256Hasher::new);
    let reading = async {
        match kind {
            BodyKind::Form(boundary) => {
                let mut form = Form::new(body, length, &boundary, &rules.limits);
                let found = form.find_picture(R::NAMES, R::PARAMETERS, hasher.clone()).await?;
                let (picture, parameters) = found;
                Ok(FoundSubmission { picture: PictureOrUrl::Picture(picture), parameters })
            }
            BodyKind::Picture => {
                let name = file_name(headers)?;
                let picture = read_picture(body, name, length, &rules.limits, hasher.clone());
                let picture = PictureOrUrl::Picture(picture.await?);
                Ok(FoundSubmission { picture, parameters: Vec::new() })
            }
            BodyKind::Json => {
                read_json(body, length, &rules.limits, hasher.clone(), R::PARAMETERS).await
            }
        }
    };
    let FoundSubmission { picture, parameters } = tokio::select! {
        found = reading => found?,
        () = tokio::time::sleep(rules.timeout) => return Err(UploadError::TooSlow(rules.timeout)),
        () = trickles(&arrived) => return Err(UploadError::Trickle),
    };
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

/// How many permits a JSON body of this length takes; `None`: it does not say.
pub(super) fn json_slots(length: Option<u64>) -> usize {
    match length {
        Some(0..=SMALL_JSON_BYTES) => 1,
        _ => JSON_SLOTS,
    }
}

/// The permits for a body, unless the queue would reject its job.
pub(super) fn slots_for(rules: &UploadRules, slots: usize) -> Result<UploadSlot, UploadError> {
    check_queue(rules)?;
    let slots = u32::try_from(slots.min(rules.max_slots)).unwrap_or(u32::MAX);
    let permits = Arc::clone(&rules.slots).try_acquire_many_owned(slots);
    permits.map(Arc::new).map_err(|_| UploadError::TooManyUploads)
}

/// A place for an answer with pictures in it, which takes as much memory as JSON with them, once there is one.
///
/// # Errors
/// [`UploadError::TooManyUploads`] if there is none `within` this time.
pub(crate) async fn place_for_answer(
    rules: &UploadRules,
    within: Duration,
) -> Result<UploadSlot, UploadError> {
    let places = u32::try_from(JSON_SLOTS.min(rules.max_slots)).unwrap_or(u32::MAX);
    let place = Arc::clone(&rules.slots).acquire_many_owned(places);
    match tokio::time::timeout(within, place).await {
        Ok(Ok(place)) => Ok(Arc::new(place)),
        Ok(Err(_)) | Err(_) => Err(UploadError::TooManyUploads),
    }
}

/// Rejects a body unread while the queue would reject its job.
pub(super) fn check_queue(rules: &UploadRules) -> Result<(), UploadError> {
    if rules.backpressure.is_full(Instant::now()) {
        return Err(UploadError::QueueFull { retry_after: rules.backpressure.retry_after() });
    }
    if rules.backpressure.cannot_store() {
        return Err(UploadError::CannotStore);
    }
    Ok(())
}

/// Rejects compressed bodies: pictures are compressed already, and the decompressed size would need a limit
/// of its own.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), UploadError> {
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let value = String::from_utf8_lossy(value.as_bytes());
        for coding in value.split(',').map(str::trim) {
            if !PLAIN_CODINGS.iter().any(|plain| coding.eq_ignore_ascii_case(plain)) {
                return Err(UploadError::ContentEncoding(printable(coding).into_owned()));
            }
        }
    }
    Ok(())
}

/// Completes when the upload is slower than the minimum rate.
pub(super) async fn trickles(arrived: &AtomicU64) {
    let began = Instant::now();
    tokio::time::sleep(RATE_GRACE).await;
    while arrived.load(Ordering::Relaxed) >= began.elapsed().as_secs() * MIN_BYTES_PER_SECOND {
        tokio::time::sleep(RATE_CHECK_EVERY).await;
    }
}
