//! The forms of these routes: a picture, how certain its objects must be, and an API key.

use std::marker::PhantomData;

use poem::{Request, RequestBody, http::StatusCode};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef},
};

use super::error::VisionError;
use crate::{
    auth::{
        Caller,
        guard::{Guard, Purpose},
    },
    metrics::ApiMetrics,
    routes::body_error::BodyError,
    tasks::Tasks,
    upload::{
        ImageField, ImageFormUpload, UploadRules, UploadedPicture, cache_control::CacheControl,
    },
};

const MIN_CONFIDENCE: &str = "min_confidence";
const API_KEY: &str = "api_key";
const ADMIN_KEY: &str = "admin_key";

/// What is in a form.
pub(super) struct SentForm {
    /// Who has sent it.
    pub(super) caller: Caller,
    pub(super) image: Option<UploadedPicture>,
    pub(super) min_confidence: Option<String>,
    /// Whether to run the model even if the result is cached.
    pub(super) no_cache: bool,
}

/// What a form is for.
pub(super) trait FormPurpose: Send + Sync + 'static {
    const PURPOSE: Purpose;
    /// Its fields, for the document: name, description, whether it is required.
    const FIELDS: &'static [(&'static str, &'static str)];
}

/// Forms with a picture to detect objects in.
pub(super) struct Detecting;

impl FormPurpose for Detecting {
    const PURPOSE: Purpose = Purpose::Submit;
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        (
            API_KEY,
            "The API key, where the API runs with `AUTH=keys`, unless a header has it. Before the picture.",
        ),
        ("image", "The picture: a JPEG, PNG, WebP, BMP or GIF (its first frame) file."),
        (MIN_CONFIDENCE, "The least confidence of a prediction, from 0 to 1. Default 0.4."),
    ];
}

/// Forms that ask for lists.
pub(super) struct Listing;

impl FormPurpose for Listing {
    const PURPOSE: Purpose = Purpose::Read;
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        (API_KEY, "The API key, where the API runs with `AUTH=keys`, unless a header has it."),
        (ADMIN_KEY, "The same, as DeepStack's clients name it."),
    ];
}

/// The form of a request. The extractor never fails: each route reports errors.
pub(super) struct VisionForm<P>(pub(super) Result<SentForm, VisionError>, PhantomData<P>);

impl<'a, P: FormPurpose> ApiExtractor<'a> for VisionForm<P> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let field = |(name, description): &(&'static str, &'static str)| {
            let schema = match *name {
                "image" => MetaSchema::new_with_format("string", "binary"),
                _ => MetaSchema::new("string"),
            };
            let schema = MetaSchema { description: Some(description), ..schema };
            (*name, MetaSchemaRef::Inline(Box::new(schema)))
        };
        let form = MetaSchema {
            properties: P::FIELDS.iter().map(field).collect(),
            required: match P::PURPOSE {
                Purpose::Submit => vec!["image"],
                Purpose::Read | Purpose::Cancel | Purpose::Operate => Vec::new(),
            },
            ..MetaSchema::new("object")
        };
        let content = vec![MetaMediaType {
            content_type: "multipart/form-data",
            schema: MetaSchemaRef::Inline(Box::new(form)),
        }];
        Some(MetaRequest { description: None, content, required: P::PURPOSE == Purpose::Submit })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let sources = Sources::of(request).ok_or_else(|| {
            poem::Error::from_string("no upload rules", StatusCode::INTERNAL_SERVER_ERROR)
        })?;
        let form = read(request, body, &sources, P::PURPOSE).await;
        Ok(Self(form.map_err(|error| error.counted(sources.metrics)), PhantomData))
    }
}

/// What reading a form needs.
struct Sources<'a> {
    rules: &'a UploadRules,
    guard: &'a Guard,
    metrics: &'a ApiMetrics,
}

impl<'a> Sources<'a> {
    fn of(request: &'a Request) -> Option<Self> {
        Some(Self {
            rules: request.data()?,
            guard: request.data()?,
            metrics: &request.data::<Tasks>()?.metrics,
        })
    }
}

async fn read(
    request: &Request,
    body: &mut RequestBody,
    sources: &Sources<'_>,
    purpose: Purpose,
) -> Result<SentForm, BodyError<VisionError>> {
    let Sources { rules, guard, .. } = *sources;
    let admitted = guard.admit_by_headers(request.headers(), purpose).await;
    let admitted = admitted.transpose().map_err(VisionError::from)?;
    let mut admission =
        Admission { guard, purpose, caller: admitted.map(|admitted| admitted.caller) };
    let Some(mut upload) = ImageFormUpload::of(request, body, rules)? else {
        let caller = admission.caller().await?;
        return Ok(SentForm { caller, image: None, min_confidence: None, no_cache: false });
    };
    let pace = upload.pace();
    let form = pace.limit(read_fields(&mut upload, admission)).await?;
    Ok(SentForm { no_cache: CacheControl::of(request.headers()).no_cache, ..form })
}

async fn read_fields(
    upload: &mut ImageFormUpload<'_>,
    mut admission: Admission<'_>,
) -> Result<SentForm, BodyError<VisionError>> {
    let (mut image, mut min_confidence) = (None, None);
    let mut fields = upload.fields();
    let texts = [MIN_CONFIDENCE, API_KEY, ADMIN_KEY];
    while let Some(field) = fields.next(&texts).await? {
        match field {
            ImageField::Text(MIN_CONFIDENCE, text) => min_confidence = Some(text),
            ImageField::Text(_, key) => admission.present(&key).await?,
            ImageField::Image(part) => {
                admission.caller().await?;
                if admission.purpose == Purpose::Submit && image.is_none() {
                    image = Some(fields.read_image(&part).await?);
                }
            }
        }
    }
    Ok(SentForm { caller: admission.caller().await?, image, min_confidence, no_cache: false })
}

/// Whose form it is, as far as that is known.
struct Admission<'a> {
    guard: &'a Guard,
    purpose: Purpose,
    /// `None`: the key was not found yet.
    caller: Option<Caller>,
}

impl Admission<'_> {
    /// Notes the key in a field, unless a header has one: a client may send both, and they are the same to it.
    async fn present(&mut self, key: &str) -> Result<(), VisionError> {
        if self.caller.is_none() && !key.is_empty() {
            let admitted = self.guard.admit_by_body(Some(key), self.purpose).await?;
            self.caller = Some(admitted.caller);
        }
        Ok(())
    }

    /// Whose form it is.
    ///
    /// # Errors
    /// [`VisionError`] if there was no key in it so far, and one is needed.
    async fn caller(&mut self) -> Result<Caller, VisionError> {
        if let Some(caller) = &self.caller {
            return Ok(caller.clone());
        }
        let admitted = self.guard.admit_by_body(None, self.purpose).await?;
        Ok(self.caller.insert(admitted.caller).clone())
    }
}
