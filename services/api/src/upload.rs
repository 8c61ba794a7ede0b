//! One picture out of a multipart form, checked while it arrives.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use domain::picture::{PictureError, PictureFormat, PictureLimits, inspect, inspect_header};
use poem::{Request, RequestBody, web::Field, web::Multipart};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef},
};
use tokio::{io::AsyncReadExt, sync::Semaphore};

/// The form field that carries the picture.
const FIELD: &str = "file";
/// Form parts read before giving up on finding [`FIELD`].
const MAX_PARTS: usize = 16;
/// What a form may hold besides the picture: boundaries, part headers, small fields.
const FORM_OVERHEAD_BYTES: u64 = 64 * 1024;
const LONGEST_FILE_NAME: usize = 255;

/// What the API asks of uploads.
#[derive(Clone)]
pub(crate) struct UploadRules {
    pub(crate) limits: PictureLimits,
    /// The longest an upload may take to arrive.
    pub(crate) timeout: Duration,
    /// One permit for each upload being read: bounds the memory they take.
    pub(crate) slots: Arc<Semaphore>,
}

/// A picture that arrived whole and whose header is in order.
#[derive(Debug)]
pub(crate) struct UploadedPicture {
    /// Its file name, as the client gave it.
    pub(crate) name: String,
    /// Its bytes, encoded as they came.
    pub(crate) bytes: Bytes,
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
    #[error("too many uploads at once, try again shortly")]
    TooManyUploads,
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
        Ok(Self(read_form(request, body, rules).await))
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
    let _slot = rules.slots.try_acquire().map_err(|_| UploadError::TooManyUploads)?;
    let form = <Multipart as poem::FromRequest>::from_request(request, body)
        .await
        .map_err(|_| UploadError::NotAForm)?;
    tokio::time::timeout(rules.timeout, find_picture(form, rules))
        .await
        .map_err(|_| UploadError::TooSlow(rules.timeout))?
}

fn is_form(request: &Request) -> bool {
    request.content_type().is_some_and(|media_type| media_type.starts_with("multipart/form-data"))
}

async fn find_picture(
    mut form: Multipart,
    rules: &UploadRules,
) -> Result<UploadedPicture, UploadError> {
    let mut other_bytes = 0;
    for _ in 0..MAX_PARTS {
        let part = form.next_field().await;
        let part = part.map_err(|error| UploadError::BrokenForm(error.to_string()))?;
        let Some(part) = part else { return Err(UploadError::NoPicture) };
        if part.name() == Some(FIELD) {
            return read_picture(part, &rules.limits).await;
        }
        skip(part, &mut other_bytes).await?;
    }
    Err(UploadError::BrokenForm(format!("no field '{FIELD}' among its first {MAX_PARTS} parts")))
}

async fn read_picture(part: Field, limits: &PictureLimits) -> Result<UploadedPicture, UploadError> {
    let name = part.file_name().unwrap_or_default().to_owned();
    check_name(&name)?;
    let refused = |error| UploadError::Picture { filename: name.clone(), error };
    let mut reader = pin!(part.into_async_read());
    let mut bytes = BytesMut::with_capacity(64 * 1024);
    let mut header = None;
    while reader.read_buf(&mut bytes).await.map_err(broken)? > 0 {
        if bytes.len() as u64 > limits.max_bytes {
            return Err(too_many_bytes(name, limits));
        }
        if header.is_none() {
            // A bomb or a text file is refused at its first bytes, not after its last.
            header = inspect_header(&bytes, limits).map_err(refused)?;
        }
    }
    inspect(&bytes, limits).map_err(refused)?;
    Ok(UploadedPicture { name, bytes: bytes.freeze() })
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

/// Reads past a part that is not the picture; all such parts together must be small.
async fn skip(part: Field, other_bytes: &mut u64) -> Result<(), UploadError> {
    let mut reader = pin!(part.into_async_read());
    let mut chunk = [0; 4096];
    loop {
        let read = reader.read(&mut chunk).await.map_err(broken)?;
        if read == 0 {
            return Ok(());
        }
        *other_bytes += read as u64;
        if *other_bytes > FORM_OVERHEAD_BYTES {
            return Err(UploadError::BrokenForm(format!(
                "fields besides '{FIELD}' have more than {FORM_OVERHEAD_BYTES} bytes"
            )));
        }
    }
}

fn broken(error: std::io::Error) -> UploadError {
    UploadError::BrokenForm(error.to_string())
}

fn too_many_bytes(filename: String, limits: &PictureLimits) -> UploadError {
    UploadError::Picture {
        filename,
        error: PictureError::TooManyBytes { max_bytes: limits.max_bytes },
    }
}
