//! A form with a picture in field `image`, as clients of DeepStack and CodeProject.AI send it. It is read field by field,
//! since its API key may be a field as well, and a picture is only read for who may submit it.

use domain::Sha256Hasher;
use poem::{Request, RequestBody};

use super::{
    error::UploadError,
    form::{Form, FoundPicture, check_name},
    incoming_body::{IncomingBody, OpenBody, Segments},
    multipart::{PartHead, boundary_of},
    pace::UploadPace,
    rules::{FileNames, UploadRules, max_form_bytes},
    slots::slots_for,
    uploaded::UploadedPicture,
};

/// The field with the picture.
const IMAGE: &str = "image";
/// The longest text of another field, in bytes.
const MAX_TEXT_BYTES: usize = 1024;

/// The body of a request, unread.
pub(crate) struct ImageFormUpload<'a> {
    boundary: Vec<u8>,
    body: IncomingBody<'a>,
}

/// The form, while it is read.
pub(crate) struct ImageForm<'a> {
    form: Form<'a, &'a mut Segments>,
    hasher: Option<Sha256Hasher>,
    rules: &'a UploadRules,
}

/// A field of the form.
pub(crate) enum ImageField {
    /// The picture, which [`ImageForm::read_image`] reads.
    Image(PartHead),
    /// One of the text fields that were asked for.
    Text(&'static str, String),
}

impl<'a> ImageFormUpload<'a> {
    /// The form in this request; `None` if its body is none.
    ///
    /// # Errors
    /// [`UploadError`] if it cannot be accepted; it is not read then.
    pub(crate) fn of(
        request: &Request,
        body: &mut RequestBody,
        rules: &'a UploadRules,
    ) -> Result<Option<Self>, UploadError> {
        let Ok(boundary) = boundary_of(request.headers()) else { return Ok(None) };
        let body = IncomingBody::of(request, body, rules, max_form_bytes(&rules.limits))?;
        Ok(Some(Self { boundary, body }))
    }

    /// How fast it must arrive.
    pub(crate) fn pace(&self) -> UploadPace {
        self.body.pace()
    }

    /// Its fields.
    pub(crate) fn fields(&mut self) -> ImageForm<'_> {
        let OpenBody { bytes, length, hasher, rules } = self.body.open();
        ImageForm { form: Form::new(bytes, length, &self.boundary, &rules.limits), hasher, rules }
    }
}

impl ImageForm<'_> {
    /// The next field: a picture, or one of the text fields `texts`. Others are passed over, and so is a picture that is
    /// not read.
    ///
    /// # Errors
    /// [`UploadError`] if the form is malformed, or a text too long.
    pub(crate) async fn next(
        &mut self,
        texts: &[&'static str],
    ) -> Result<Option<ImageField>, UploadError> {
        while let Some(part) = self.form.next_part().await? {
            let name = part.name.as_deref();
            if name == Some(IMAGE) {
                return Ok(Some(ImageField::Image(part)));
            }
            if let Some(field) = texts.iter().find(|field| name == Some(**field)) {
                let text = self.form.read_text(field, MAX_TEXT_BYTES).await?;
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                return Ok(Some(ImageField::Text(field, text)));
            }
            self.form.skip_part().await?;
        }
        Ok(None)
    }

    /// The picture, of whose part this is the header. Only now it takes a place among the uploads.
    ///
    /// # Errors
    /// [`UploadError`] if there is no place, or the queue would reject its job; if it is no complete picture within the
    /// limits, or the form is malformed.
    pub(crate) async fn read_image(
        &mut self,
        part: &PartHead,
    ) -> Result<UploadedPicture, UploadError> {
        let slot = slots_for(self.rules, 1)?;
        let name = part.file_name.as_deref().unwrap_or(IMAGE);
        check_name(name, FileNames::Any)?;
        let found = self.form.read_picture(part, name, self.hasher.clone()).await?;
        let FoundPicture { name, bytes, sha256 } = found;
        Ok(UploadedPicture { name, bytes, sha256, slot })
    }
}
