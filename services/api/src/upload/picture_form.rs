//! The request body of a submission.

use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{Sha256Digest, Sha256Hasher};
use opentelemetry::{KeyValue, trace::SpanBuilder};
use poem::{
    Request, RequestBody,
    http::{HeaderMap, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef},
};
use service::telemetry::traces;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    cache_control::CacheControl,
    error::{FieldsSent, UploadError},
    form::{Form, FoundPicture},
    limited_body::LimitedBody,
    multipart::{BoundaryError, boundary_of, printable},
    rules::{FIELD, FileNames, MIN_BYTES_PER_SECOND, UploadRules, max_form_bytes},
};

/// Values of `Content-Encoding` that mean an unencoded body. All except `identity` are clients' mistakes
/// without effect.
const PLAIN_CODINGS: [&str; 7] = ["", "identity", "none", "utf-8", "binary", "7bit", "8bit"];
/// How long an upload runs before its rate is checked.
const RATE_GRACE: Duration = Duration::from_secs(10);
const RATE_CHECK_EVERY: Duration = Duration::from_secs(1);

/// A complete picture with a valid header.
#[derive(Debug)]
pub(crate) struct UploadedPicture {
    /// Its file name as sent by the client.
    pub(crate) name: String,
    /// Its encoded bytes as received.
    pub(crate) bytes: Bytes,
    /// Their digest, or `None` if the result is not to be cached.
    pub(crate) sha256: Option<Sha256Digest>,
    /// Its permit for memory, to be held as long as the bytes.
    pub(crate) slot: OwnedSemaphorePermit,
}

/// A route that accepts submissions.
pub(crate) trait SubmissionRoute: Send + Sync + 'static {
    const NAMES: FileNames;
    /// The description of its form in the document.
    const DESCRIPTION: &'static str;
}

/// The request body of a submission: a multipart form with the picture in field `file`.
///
/// The extractor never fails: each route renders errors for its own clients.
pub(crate) struct PictureForm<R>(
    pub(crate) Result<UploadedPicture, UploadError>,
    pub(crate) PhantomData<R>,
);

impl<'a, R: SubmissionRoute> ApiExtractor<'a> for PictureForm<R> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let mut form = MetaSchema::new("object");
        form.properties = vec![(FIELD, MetaSchemaRef::Inline(Box::new(picture_schema())))];
        form.required = vec![FIELD];
        Some(MetaRequest {
            description: Some(R::DESCRIPTION),
            content: vec![MetaMediaType {
                content_type: "multipart/form-data",
                schema: MetaSchemaRef::Inline(Box::new(form)),
            }],
            required: true,
        })
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
        let picture = span.around(read_form(request, body, rules, R::NAMES)).await;
        match &picture {
            Ok(picture) => {
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

async fn read_form(
    request: &Request,
    body: &mut RequestBody,
    rules: &UploadRules,
    names: FileNames,
) -> Result<UploadedPicture, UploadError> {
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse().ok());
    let boundary = match boundary_of(headers) {
        // A form without fields may have an empty body.
        Ok(_) | Err(BoundaryError::NoBoundary) if length == Some(0) => {
            return Err(UploadError::NoPicture(FieldsSent::default()));
        }
        boundary => boundary?,
    };
    check_encoding(headers)?;
    let (most, max_bytes) = (max_form_bytes(&rules.limits), rules.limits.max_bytes);
    if length.is_some_and(|length| length > most) {
        // The client announces it: rejected without reading the body.
        return Err(UploadError::FormTooLarge { most, max_bytes });
    }
    if rules.backpressure.is_full(Instant::now()) {
        // Nothing is read while the queue would reject the job.
        return Err(UploadError::QueueFull { retry_after: rules.backpressure.retry_after() });
    }
    if rules.backpressure.cannot_store() {
        return Err(UploadError::CannotStore);
    }
    let slots = Arc::clone(&rules.slots);
    let slot = slots.try_acquire_owned().map_err(|_| UploadError::TooManyUploads)?;
    let segments = body.take().unwrap_or_default().into_bytes_stream();
    let arrived = AtomicU64::new(0);
    let body = LimitedBody::new(segments, &rules.limits, &arrived);
    let mut form = Form::new(body, length, &boundary, &rules.limits);
    let is_kept = rules.digests && !CacheControl::of(headers).no_store;
    let hasher = is_kept.then(Sha256Hasher::new);
    let picture = tokio::select! {
        found = form.find_picture(names, hasher) => found?,
        () = tokio::time::sleep(rules.timeout) => return Err(UploadError::TooSlow(rules.timeout)),
        () = trickles(&arrived) => return Err(UploadError::Trickle),
    };
    let FoundPicture { name, bytes, sha256 } = picture;
    Ok(UploadedPicture { name, bytes, sha256, slot })
}

/// Rejects compressed bodies: pictures are compressed already, and the decompressed size would need a limit
/// of its own.
fn check_encoding(headers: &HeaderMap) -> Result<(), UploadError> {
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
async fn trickles(arrived: &AtomicU64) {
    let began = Instant::now();
    tokio::time::sleep(RATE_GRACE).await;
    while arrived.load(Ordering::Relaxed) >= began.elapsed().as_secs() * MIN_BYTES_PER_SECOND {
        tokio::time::sleep(RATE_CHECK_EVERY).await;
    }
}
