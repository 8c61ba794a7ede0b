//! Reads a form from the body of a request, and finds its picture.

use std::io;

use bytes::Bytes;
use domain::{
    Sha256Digest, Sha256Hasher,
    picture::{PictureError, PictureFormat, PictureLimits},
};
use futures_util::Stream;
use serde_json::Value;

use super::{
    arriving::ArrivingPicture,
    error::{FieldsSent, UploadError},
    limited_body::LimitedBody,
    multipart::{Event, Parser, PartHead, printable},
    rules::{FIELD, FileNames, INITIAL_CAPACITY, MAX_FILE_NAME_CHARS, MAX_PARAMETER_BYTES},
};

/// A form that is being read.
pub(super) struct Form<'a, S> {
    body: LimitedBody<'a, S>,
    parser: Parser,
    limits: &'a PictureLimits,
    expected_bytes: u64,
    /// Whether the parser is within a part, and how many bytes of its content have been read.
    is_in_part: bool,
    part_bytes: u64,
}

/// A picture with its name and digest.
#[derive(Debug)]
pub(super) struct FoundPicture {
    pub(super) name: String,
    pub(super) bytes: Bytes,
    pub(super) sha256: Option<Sha256Digest>,
}

impl<'a, S: Stream<Item = io::Result<Bytes>> + Unpin> Form<'a, S> {
    /// `length` is the `Content-Length` of the body, if there is one.
    pub(super) fn new(
        body: LimitedBody<'a, S>,
        length: Option<u64>,
        boundary: &[u8],
        limits: &'a PictureLimits,
    ) -> Self {
        Self {
            body,
            parser: Parser::new(boundary),
            limits,
            expected_bytes: length.unwrap_or(INITIAL_CAPACITY),
            is_in_part: false,
            part_bytes: 0,
        }
    }

    /// A form of at most `max_parts` parts.
    pub(super) fn of_parts(
        body: LimitedBody<'a, S>,
        boundary: &[u8],
        limits: &'a PictureLimits,
        max_parts: usize,
    ) -> Self {
        let parser = Parser::of_parts(boundary, max_parts);
        Self { parser, ..Self::new(body, None, boundary, limits) }
    }

    /// Reads the picture, and hashes it with `hasher`. Without `parameters`, the form is read up to the picture's end;
    /// otherwise to its own end, with all text fields of these names.
    ///
    /// # Errors
    /// [`UploadError`] if there is no picture that this route accepts, or what is read is malformed.
    pub(super) async fn find_picture(
        &mut self,
        names: FileNames,
        parameters: &'static [&'static str],
        hasher: Option<Sha256Hasher>,
    ) -> Result<(FoundPicture, Vec<(&'static str, Value)>), UploadError> {
        let mut sent = FieldsSent::default();
        let mut given = Vec::new();
        let mut picture = None;
        let mut nameless = None;
        while let Some(part) = self.next_part().await? {
            let parameter = parameters.iter().find(|name| part.name.as_deref() == Some(**name));
            match Role::of(&part, names) {
                Role::Picture(name) if picture.is_none() => {
                    check_name(name, names)?;
                    let found = self.read_picture(&part, name, hasher.clone()).await?;
                    if parameters.is_empty() {
                        return Ok((found, given));
                    }
                    picture = Some(found);
                }
                Role::Other if let Some(name) = parameter => {
                    given.push((*name, self.read_parameter(name).await?));
                }
                Role::Nameless if picture.is_none() && !matches!(nameless, Some(Ok(_))) => {
                    match self.read_picture(&part, "", hasher.clone()).await {
                        Err(error) if !error.is_of_part() => {
                            return Err(error);
                        }
                        Err(error) if nameless.is_some() || may_be_text(&part, &error) => {}
                        read => nameless = Some(read),
                    }
                }
                Role::Picture(_) | Role::Nameless | Role::Other => {}
            }
            self.skip_part().await?;
            sent.add(&part, self.part_bytes);
        }
        let picture = match picture {
            Some(picture) => picture,
            None => nameless.unwrap_or(Err(UploadError::NoPicture(sent)))?,
        };
        Ok((picture, given))
    }

    /// Reads the content of this part as a parameter.
    ///
    /// # Errors
    /// [`UploadError`] if it is too long, or the form is malformed.
    pub(super) async fn read_parameter(&mut self, name: &str) -> Result<Value, UploadError> {
        let text = self.read_text(name, MAX_PARAMETER_BYTES).await?;
        Ok(Value::String(String::from_utf8_lossy(&text).into_owned()))
    }

    /// Reads the content of this part, of at most `most` bytes.
    ///
    /// # Errors
    /// As [`Self::read_parameter`].
    pub(super) async fn read_text(
        &mut self,
        name: &str,
        most: usize,
    ) -> Result<Vec<u8>, UploadError> {
        let mut text = Vec::new();
        while let Some(bytes) = self.content().await? {
            text.extend_from_slice(&bytes);
            if text.len() > most {
                let detail = format!("{name} has more than {most} bytes");
                return Err(UploadError::Parameter { name: name.to_owned(), detail });
            }
        }
        Ok(text)
    }

    /// Reads the content of this part, whose header is `part`, as a picture of this name.
    ///
    /// # Errors
    /// [`UploadError`] if it is no picture within the limits, or the form is malformed.
    pub(super) async fn read_picture(
        &mut self,
        part: &PartHead,
        name: &str,
        hasher: Option<Sha256Hasher>,
    ) -> Result<FoundPicture, UploadError> {
        if !matches!(part.transfer_encoding.as_str(), "" | "binary" | "8bit" | "7bit") {
            let encoding = printable(&part.transfer_encoding).into_owned();
            return Err(UploadError::TransferEncoding(encoding));
        }
        let rejected = |error| UploadError::Picture { filename: name.to_owned(), error };
        let mut picture = ArrivingPicture::new(self.limits, self.expected_bytes, hasher);
        loop {
            match self.content().await {
                Ok(Some(bytes)) => picture.push(&bytes).map_err(rejected)?,
                Ok(None) => break,
                Err(error) => {
                    // An incomplete bomb is reported as a bomb.
                    picture.check().map_err(rejected)?;
                    return Err(error);
                }
            }
        }
        let (bytes, sha256) = picture.finish().map_err(rejected)?;
        Ok(FoundPicture { name: name.to_owned(), bytes, sha256 })
    }

    /// The next part. The rest of the current one is skipped.
    pub(super) async fn next_part(&mut self) -> Result<Option<PartHead>, UploadError> {
        loop {
            match self.next().await? {
                Event::Part(head) => return Ok(Some(head)),
                Event::End => return Ok(None),
                Event::NeedsMore | Event::Content(_) | Event::PartEnd => {}
            }
        }
    }

    /// The next bytes of this part; `None` at its end.
    pub(super) async fn content(&mut self) -> Result<Option<Bytes>, UploadError> {
        match self.next().await? {
            Event::Content(bytes) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// Passes over the rest of this part.
    pub(super) async fn skip_part(&mut self) -> Result<(), UploadError> {
        while self.is_in_part {
            self.next().await?;
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Event, UploadError> {
        loop {
            let event = self.parser.next()?;
            match &event {
                Event::NeedsMore => {
                    self.read().await?;
                    continue;
                }
                Event::Part(_) => (self.is_in_part, self.part_bytes) = (true, 0),
                Event::Content(bytes) => self.part_bytes += bytes.len() as u64,
                Event::PartEnd | Event::End => self.is_in_part = false,
            }
            return Ok(event);
        }
    }

    async fn read(&mut self) -> Result<(), UploadError> {
        match self.body.next().await? {
            Some(segment) => self.parser.feed(segment),
            None => self.parser.finish(),
        }
        Ok(())
    }
}

/// The role of a part in the search for the picture.
enum Role<'a> {
    /// The file of this name in field [`FIELD`].
    Picture(&'a str),
    /// Text in field [`FIELD`], or a picture without a file name. It is the picture if there is none with a
    /// name.
    Nameless,
    Other,
}

impl<'a> Role<'a> {
    fn of(part: &'a PartHead, names: FileNames) -> Self {
        match (part.name.as_deref(), &part.file_name, names) {
            (Some(FIELD), Some(name), _) => Self::Picture(name),
            (Some(FIELD), None, FileNames::Any) => Self::Nameless,
            _ => Self::Other,
        }
    }
}

/// Whether a part without a file name that failed with this error is a text field.
fn may_be_text(part: &PartHead, error: &UploadError) -> bool {
    let is_binary =
        part.media_type.starts_with("image/") || part.media_type == "application/octet-stream";
    let is_no_picture = matches!(
        error,
        UploadError::Picture { error: PictureError::Unrecognised | PictureError::Empty, .. }
    );
    is_no_picture && !is_binary
}

/// Checks a file name.
///
/// # Errors
/// [`UploadError`] if a route with these `names` does not accept it.
pub(super) fn check_name(name: &str, names: FileNames) -> Result<(), UploadError> {
    if name.chars().count() > MAX_FILE_NAME_CHARS {
        return Err(UploadError::NameTooLong);
    }
    if names == FileNames::Any {
        return Ok(());
    }
    // Windows ignores dots and spaces at the end of a name.
    let extension = name.trim_end_matches(['.', ' ']).rsplit_once('.');
    match extension.and_then(|(_, extension)| PictureFormat::from_extension(extension)) {
        Some(_) => Ok(()),
        None => Err(UploadError::Extension(name.to_owned())),
    }
}
