//! Why an upload is rejected: what was found, what was expected, what to do.

use std::{fmt, io, time::Duration};

use domain::picture::{PictureError, PictureFormat};
use outbound::{RequestError, UrlError};

use super::{
    multipart::{BoundaryError, FormError, PartHead, printable, without_controls},
    rules::{
        FIELD, FORM_OVERHEAD_BYTES, IMAGE, ITEMS, MAX_FILE_NAME_CHARS, MIN_BYTES_PER_SECOND, URL,
    },
    zip::{EntryError, ZipError},
};

/// Maximum number of fields that an error names.
const NAMED_FIELDS: usize = 10;
/// How much of a parser's error is told: it may repeat a text of the request, of any length.
const SHOWN_CHARACTERS: usize = 256;
/// How to send a picture in a form.
const FORM_ADVICE: &str = "send the picture as a file in field 'file' of a multipart/form-data form, as \
    `curl -F file=@picture.jpg` does";
/// How else to send one.
const OTHER_ADVICE: &str = "or as the whole body with its media type, as \
    `curl -H 'Content-Type: image/jpeg' --data-binary @picture.jpg` does, or as base64 in JSON, {\"image\": \"…\"}";

/// How to send a batch.
const BATCH_ADVICE: &str = "send the pictures as files of a multipart/form-data form, as \
    `curl -F file=@a.jpg -F file=@b.jpg` does, or as a zip archive with Content-Type application/zip, or a list of \
    URLs in JSON, {\"items\": [\"https://…\"]}";

/// What is wrong with a client's JSON, in the parser's words.
pub(crate) fn json_error(error: &serde_json::Error) -> String {
    let shown: String = error.to_string().chars().take(SHOWN_CHARACTERS).collect();
    without_controls(&shown).into_owned()
}

/// Why an upload is rejected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("no picture: {0}; {FORM_ADVICE}")]
    NoPicture(FieldsSent),
    #[error(
        "no picture: the JSON object has neither '{IMAGE}', which holds the picture as base64, nor '{URL}', which says \
         where it is"
    )]
    NoImageMember,
    #[error("{IMAGE} and {URL} exclude each other: send the picture, or say where it is")]
    ImageAndUrl,
    #[error("{URL} cannot be used: this API fetches no pictures; send the picture in {IMAGE}")]
    NoFetching,
    #[error("{URL} cannot be used: {0}")]
    Url(#[from] UrlError),
    #[error("the picture cannot be fetched: {0}")]
    Fetch(#[from] RequestError),
    #[error("the JSON body cannot be read: {0}")]
    Json(String),
    #[error("{IMAGE} is not base64: {0}")]
    Base64(String),
    #[error("{detail}")]
    Parameter { name: String, detail: String },
    #[error("{0}{advice}", advice = advice_on(.0))]
    Boundary(#[from] BoundaryError),
    #[error("Content-Encoding '{0}' is not supported: send the body as it is, uncompressed")]
    ContentEncoding(String),
    #[error(
        "Content-Transfer-Encoding '{0}' is not supported: send the bytes of the picture as it is, as binary"
    )]
    TransferEncoding(String),
    #[error(transparent)]
    BrokenForm(#[from] FormError),
    #[error("the body of the request cannot be read: {0}")]
    Body(#[from] io::Error),
    #[error(
        "the request has more than {most} bytes: a picture may have {max_bytes}, and what else is in it {rest}",
        rest = FORM_OVERHEAD_BYTES
    )]
    FormTooLarge { most: u64, max_bytes: u64 },
    #[error("the file name has more than {MAX_FILE_NAME_CHARS} characters")]
    NameTooLong,
    #[error("unsupported file name '{0}': allowed extensions are {allowed}", allowed = allowed_extensions())]
    Extension(String),
    #[error("{error}")]
    Picture { filename: String, error: PictureError },
    #[error("the upload did not arrive within {0:?}")]
    TooSlow(Duration),
    #[error("the upload came at less than {MIN_BYTES_PER_SECOND} bytes a second")]
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
    #[error("{found}: {BATCH_ADVICE}", found = type_found(.0))]
    NotABatch(String),
    #[error("no picture: {BATCH_ADVICE}")]
    NoPictures,
    #[error(
        "no picture: '{ITEMS}' must be an array of at least one URL, or object with a URL in '{URL}'"
    )]
    NoItems,
    #[error("{detail}")]
    Item { pointer: String, detail: String },
    #[error("the batch has more than {max_items} pictures (MAX_BATCH_ITEMS): send several batches")]
    TooManyItems { max_items: u32 },
    #[error("the request has more than {most} bytes (MAX_BATCH_BYTES): send several batches")]
    BatchTooLarge { most: u64 },
    #[error("the batch arrived too slowly: {0}")]
    BatchTooSlow(String),
    #[error(transparent)]
    Zip(#[from] ZipError),
    #[error("the entry {0}")]
    Entry(EntryError),
    #[error("the file is an archive; archives within a batch are not read")]
    NestedArchive,
}

fn allowed_extensions() -> String {
    PictureFormat::EXTENSIONS.join(", ")
}

/// What the header `Content-Type` says.
fn type_found(found: &str) -> String {
    match found {
        "" => "the request has no Content-Type".to_owned(),
        found => format!("the request's Content-Type is '{found}'"),
    }
}

/// The advice for a body that is not a form; the other errors include theirs.
fn advice_on(error: &BoundaryError) -> String {
    match error {
        BoundaryError::NoType | BoundaryError::OtherType(_) => {
            format!(": {FORM_ADVICE}, {OTHER_ADVICE}")
        }
        BoundaryError::NoBoundary | BoundaryError::TooLong(_) => String::new(),
    }
}

impl UploadError {
    /// Whether another part of the form may still be the picture: this error is about one part's content, and
    /// not about the form or its size.
    pub(super) fn is_of_part(&self) -> bool {
        match self {
            Self::Picture { error, .. } => !matches!(error, PictureError::TooManyBytes { .. }),
            Self::TransferEncoding(_) => true,
            Self::NoPicture(_)
            | Self::NoImageMember
            | Self::ImageAndUrl
            | Self::NoFetching
            | Self::Url(_)
            | Self::Fetch(_)
            | Self::Json(_)
            | Self::Base64(_)
            | Self::Parameter { .. }
            | Self::Boundary(_)
            | Self::ContentEncoding(_)
            | Self::BrokenForm(_)
            | Self::Body(_)
            | Self::FormTooLarge { .. }
            | Self::NameTooLong
            | Self::Extension(_)
            | Self::TooSlow(_)
            | Self::Trickle
            | Self::TooManyUploads
            | Self::QueueFull { .. }
            | Self::CannotStore
            | Self::NotABatch(_)
            | Self::NoItems
            | Self::NoPictures
            | Self::Item { .. }
            | Self::TooManyItems { .. }
            | Self::BatchTooLarge { .. }
            | Self::BatchTooSlow(_)
            | Self::Zip(_)
            | Self::Entry(_)
            | Self::NestedArchive => false,
        }
    }
}

/// The fields of a form without a picture.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldsSent {
    /// The first of them, described for an error.
    first: Vec<String>,
    all: usize,
}

impl FieldsSent {
    /// Adds a part and the size of its content.
    pub(super) fn add(&mut self, part: &PartHead, bytes: u64) {
        self.all += 1;
        if self.first.len() < NAMED_FIELDS {
            let name = match &part.name {
                Some(name) => format!("'{}'", printable(name)),
                None => "one without a name".to_owned(),
            };
            self.first.push(match &part.file_name {
                Some(file_name) => {
                    format!("{name} (file '{}', {bytes} bytes)", printable(file_name))
                }
                None => format!("{name} (text, {bytes} bytes)"),
            });
        }
    }
}

impl fmt::Display for FieldsSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.all == 0 {
            return f.write_str("the form has no fields");
        }
        write!(f, "the form has no file in field '{FIELD}', but ")?;
        match self.all {
            1 => write!(f, "1 field: ")?,
            all => write!(f, "{all} fields: ")?,
        }
        f.write_str(&self.first.join(", "))?;
        match self.all - self.first.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_but_not_all_of_them() {
        let mut fields = FieldsSent::default();
        assert_eq!(fields.to_string(), "the form has no fields");
        let name = Some("image".to_owned());
        let file_name = Some("bus.jpg".to_owned());
        fields.add(&PartHead { name, file_name, ..PartHead::default() }, 7);
        assert_eq!(
            fields.to_string(),
            "the form has no file in field 'file', but 1 field: 'image' (file 'bus.jpg', 7 bytes)"
        );
        for _ in 0..99 {
            fields.add(&PartHead::default(), 0);
        }
        let text = fields.to_string();
        assert!(text.contains("but 100 fields: 'image'"), "{text}");
        assert!(text.ends_with(", one without a name (text, 0 bytes) and 90 more"), "{text}");
    }
}
