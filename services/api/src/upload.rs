//! One picture out of a multipart form, checked while it arrives.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use domain::{
    Sha256Digest,
    picture::{PictureError, PictureFormat, PictureLimits, inspect, inspect_header},
};
use opentelemetry::{KeyValue, trace::SpanBuilder};
use poem::{Body, Request, RequestBody, web::Field, web::Multipart};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef},
};
use runtime::telemetry::traces;
use tokio::{
    io::{AsyncRead, AsyncReadExt, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use sha2::{Digest, Sha256};

use crate::{backpressure::Backpressure, cache_control::CacheControl};

/// The form field that carries the picture.
const FIELD: &str = "file";
/// Form parts read before giving up on finding [`FIELD`].
const MAX_PARTS: usize = 16;
/// How much of the body is read before the parser looks at it: the most that the headers of a part,
/// or a whole part that is not the picture, may take.
const WINDOW_BYTES: u64 = 64 * 1024;
/// What a form may hold besides the picture.
const FORM_OVERHEAD_BYTES: u64 = MAX_PARTS as u64 * WINDOW_BYTES;
const LONGEST_FILE_NAME: usize = 255;
/// An upload that comes more slowly than this, on the average since it began, is given up: a few of
/// them that drip would hold all places until their time is up.
const LEAST_BYTES_PER_SECOND: u64 = 1024;
/// When an upload is first held to that.
const RATE_GRACE: Duration = Duration::from_secs(10);
const RATE_CHECK_EVERY: Duration = Duration::from_secs(1);

/// What the API asks of uploads.
#[derive(Clone)]
pub(crate) struct UploadRules {
    pub(crate) limits: PictureLimits,
    /// The longest an upload may take to arrive.
    pub(crate) timeout: Duration,
    /// What is known of the queue these pictures would go to.
    pub(crate) backpressure: Backpressure,
    /// One permit for each picture in memory: bounds what they take.
    pub(crate) slots: Arc<Semaphore>,
    /// Whether pictures are told apart by their digests.
    pub(crate) digests: bool,
}

/// A picture that arrived whole and whose header is in order.
#[derive(Debug)]
pub(crate) struct UploadedPicture {
    /// Its file name, as the client gave it.
    pub(crate) name: String,
    /// Its bytes, encoded as they came.
    pub(crate) bytes: Bytes,
    /// What they come to, unless its result is not to be kept.
    pub(crate) sha256: Option<Sha256Digest>,
    /// Its place in memory; to be kept for as long as the bytes are.
    pub(crate) slot: OwnedSemaphorePermit,
}

/// Why a form gave no picture.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("No image provided")]
    NoPicture,
    #[error("the request is no multipart form: send the picture as form field 'file'")]
    NotAForm,
    #[error("the multipart form cannot be read: {0}")]
    BrokenForm(String),
    #[error("the file name has more than {LONGEST_FILE_NAME} bytes")]
    NameTooLong,
    #[error("unsupported file name '{0}': allowed extensions are {allowed}", allowed = allowed_extensions())]
    Extension(String),
    #[error("{error}")]
    Picture { filename: String, error: PictureError },
    #[error("the upload did not arrive within {0:?}")]
    TooSlow(Duration),
    #[error("the upload came at less than {LEAST_BYTES_PER_SECOND} bytes a second")]
    Trickle,
    #[error("too many uploads at once, try again shortly")]
    TooManyUploads,
    #[error("the queue is full, try again later")]
    QueueFull {
        /// Seconds to wait.
        retry_after: u64,
    },
    #[error("the queue cannot store pictures at the moment, try again later")]
    CannotStore,
}

fn allowed_extensions() -> String {
    PictureFormat::EXTENSIONS.join(", ")
}

impl UploadError {
    /// The file name the complaint is about, where there is one.
    pub(crate) fn filename(&self) -> Option<&str> {
        match self {
            Self::Extension(filename) | Self::Picture { filename, .. } => Some(filename),
            _ => None,
        }
    }

    /// Whether the picture or its form has too many bytes.
    pub(crate) fn is_too_large(&self) -> bool {
        matches!(self, Self::Picture { error: PictureError::TooManyBytes { .. }, .. })
    }
}

/// The request body of a submission: a multipart form with the picture in field `file`.
///
/// Extracting it never fails: each route words the errors its own clients expect.
pub(crate) struct PictureForm(pub(crate) Result<UploadedPicture, UploadError>);

impl<'a> ApiExtractor<'a> for PictureForm {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let mut form = MetaSchema::new("object");
        form.properties = vec![(FIELD, MetaSchemaRef::Inline(Box::new(picture_schema())))];
        form.required = vec![FIELD];
        Some(MetaRequest {
            description: Some("A form with the picture in field `file`."),
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
        let picture = span.around(read_form(request, body, rules)).await;
        match &picture {
            Ok(picture) => {
                let bytes = i64::try_from(picture.bytes.len()).unwrap_or(i64::MAX);
                span.set(|| [KeyValue::new("spotter.picture.bytes", bytes)]);
            }
            Err(error) => span.fail("refused", || error.to_string()),
        }
        Ok(Self(picture))
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
) -> Result<UploadedPicture, UploadError> {
    let length =
        request.headers().get("content-length").and_then(|n| n.to_str().ok()?.parse().ok());
    let most = rules.limits.max_bytes.saturating_add(FORM_OVERHEAD_BYTES);
    match length {
        // A form without any field may come as no bytes at all.
        Some(0) if is_form(request) => return Err(UploadError::NoPicture),
        // Said by the client itself: refused without reading the body.
        Some(length) if length > most => return Err(too_many_bytes(String::new(), &rules.limits)),
        _ => {}
    }
    if rules.backpressure.is_full(Instant::now()) {
        // Nothing is read for a queue that would not take it.
        return Err(UploadError::QueueFull { retry_after: rules.backpressure.retry_after() });
    }
    if rules.backpressure.cannot_store() {
        return Err(UploadError::CannotStore);
    }
    let slots = Arc::clone(&rules.slots);
    let slot = slots.try_acquire_owned().map_err(|_| UploadError::TooManyUploads)?;
    let budget = Budget::default();
    let whole = body.take().map_err(|_| UploadError::NotAForm)?.into_async_read();
    let metered =
        Metered { inner: whole.take(most.saturating_add(1)), budget: budget.clone(), window: 0 };
    let mut body = RequestBody::new(Body::from_async_read(metered));
    let form = <Multipart as poem::FromRequest>::from_request(request, &mut body)
        .await
        .map_err(|_| UploadError::NotAForm)?;
    let is_kept = rules.digests && !CacheControl::of(request.headers()).no_store;
    let digest = is_kept.then(Sha256::new);
    let finding = find_picture(form, rules, &budget, digest);
    let (name, bytes, sha256) = tokio::select! {
        found = finding => found?,
        () = tokio::time::sleep(rules.timeout) => return Err(UploadError::TooSlow(rules.timeout)),
        () = trickles(&budget) => return Err(UploadError::Trickle),
    };
    Ok(UploadedPicture { name, bytes, sha256, slot })
}

/// How many more bytes of the body may be read before the parser has to show something for them.
///
/// The multipart parser takes whatever has come before it looks at it, and buffers the headers of a
/// part without a limit of its own.
#[derive(Clone, Default)]
struct Budget(Arc<Bytecount>);

#[derive(Default)]
struct Bytecount {
    left: AtomicU64,
    /// What has come of the body so far.
    arrived: AtomicU64,
}

impl Budget {
    fn set(&self, bytes: u64) {
        self.0.left.store(bytes, Ordering::Relaxed);
    }

    fn spend(&self, bytes: u64) {
        // One task at a time reads a body, so nothing comes between the two.
        self.set(self.left().saturating_sub(bytes));
        self.0.arrived.fetch_add(bytes, Ordering::Relaxed);
    }

    fn left(&self) -> u64 {
        self.0.left.load(Ordering::Relaxed)
    }

    fn arrived(&self) -> u64 {
        self.0.arrived.load(Ordering::Relaxed)
    }
}

/// Ends when the upload has become slower than uploads may be.
async fn trickles(budget: &Budget) {
    let began = Instant::now();
    tokio::time::sleep(RATE_GRACE).await;
    while budget.arrived() >= began.elapsed().as_secs() * LEAST_BYTES_PER_SECOND {
        tokio::time::sleep(RATE_CHECK_EVERY).await;
    }
}

/// A body that comes in windows, between which the parser looks at what it has, and that fails when
/// its budget is used up.
struct Metered<R> {
    inner: R,
    budget: Budget,
    window: u64,
}

impl<R: AsyncRead + Unpin> AsyncRead for Metered<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.window >= WINDOW_BYTES {
            self.window = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.budget.left() == 0 {
            return Poll::Ready(Err(io::Error::other("a part before the picture is too long")));
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(context, buffer);
        let read = (buffer.filled().len() - before) as u64;
        self.window += read;
        self.budget.spend(read);
        outcome
    }
}

fn is_form(request: &Request) -> bool {
    request.content_type().is_some_and(|media_type| media_type.starts_with("multipart/form-data"))
}

async fn find_picture(
    mut form: Multipart,
    rules: &UploadRules,
    budget: &Budget,
    digest: Option<Sha256>,
) -> Result<FoundPicture, UploadError> {
    for _ in 0..MAX_PARTS {
        budget.set(WINDOW_BYTES);
        let part = form.next_field().await;
        let part = part.map_err(|error| UploadError::BrokenForm(error.to_string()))?;
        let Some(part) = part else { return Err(UploadError::NoPicture) };
        if part.name() == Some(FIELD) {
            // From here on the picture's own limit counts.
            budget.set(u64::MAX);
            return read_picture(part, &rules.limits, digest).await;
        }
        skip(part).await?;
    }
    Err(UploadError::BrokenForm(format!("no field '{FIELD}' among its first {MAX_PARTS} parts")))
}

/// Its name, its bytes, and what they come to.
type FoundPicture = (String, Bytes, Option<Sha256Digest>);

async fn read_picture(
    part: Field,
    limits: &PictureLimits,
    mut digest: Option<Sha256>,
) -> Result<FoundPicture, UploadError> {
    let name = part.file_name().unwrap_or_default().to_owned();
    check_name(&name)?;
    let refused = |error| UploadError::Picture { filename: name.clone(), error };
    let mut reader = pin!(part.into_async_read());
    let mut bytes = BytesMut::with_capacity(64 * 1024);
    let mut header = None;
    loop {
        let read = reader.read_buf(&mut bytes).await.map_err(broken)?;
        if read == 0 {
            break;
        }
        if bytes.len() as u64 > limits.max_bytes {
            return Err(too_many_bytes(name, limits));
        }
        if header.is_none() {
            // A bomb or a text file is refused at its first bytes, not after its last.
            header = inspect_header(&bytes, limits).map_err(refused)?;
        }
        // Piece by piece as it comes: all of a large picture at once would hold others up.
        if let Some(digest) = &mut digest {
            digest.update(&bytes[bytes.len() - read..]);
        }
    }
    inspect(&bytes, limits).map_err(refused)?;
    let digest = digest.map(|digest| <[u8; 32]>::from(digest.finalize()).into());
    Ok((name, bytes.freeze(), digest))
}

fn check_name(name: &str) -> Result<(), UploadError> {
    if name.len() > LONGEST_FILE_NAME {
        return Err(UploadError::NameTooLong);
    }
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    match extension.and_then(PictureFormat::from_extension) {
        Some(_) => Ok(()),
        None => Err(UploadError::Extension(name.to_owned())),
    }
}

/// Reads past a part that is not the picture. The budget keeps it short.
async fn skip(part: Field) -> Result<(), UploadError> {
    tokio::io::copy(&mut pin!(part.into_async_read()), &mut tokio::io::sink())
        .await
        .map(drop)
        .map_err(broken)
}

fn broken(error: io::Error) -> UploadError {
    UploadError::BrokenForm(error.to_string())
}

fn too_many_bytes(filename: String, limits: &PictureLimits) -> UploadError {
    UploadError::Picture {
        filename,
        error: PictureError::TooManyBytes { max_bytes: limits.max_bytes },
    }
}
