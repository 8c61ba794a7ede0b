//! The pictures of a batch: files of a form, entries of a zip archive, or a list of URLs. They are read one by one, so that
//! no more of them are in memory than permits are for.

mod archive;
mod arrived;
mod content;
mod form;
mod limits;
mod list;
mod paced;

use std::sync::atomic::AtomicU64;

use domain::Sha256Hasher;
use futures_util::StreamExt;
use poem::{Request, RequestBody, http::HeaderMap};
use serde_json::Value;

pub(crate) use self::arrived::{Arrived, ArrivedPicture, Given};
pub use self::limits::BatchLimits;
use self::{
    archive::{ArchivePictures, Step},
    content::Body,
    form::FormPictures,
    list::ListPictures,
};
use super::{
    error::UploadError,
    incoming_body::{Segments, check_encoding, content_length, hasher},
    limited_body::LimitedBody,
    multipart::{BoundaryError, boundary_of},
    rules::{FORM_OVERHEAD_BYTES, UploadRules},
    slots::check_queue,
    zip::{ZipLimits, ZipUsage},
};

/// The longest list of URLs, in bytes for each picture.
const LIST_BYTES_PER_ITEM: u64 = 4096;
/// How many entries of an archive may be folders and others that are no pictures, for each picture.
const ENTRIES_PER_ITEM: u32 = 2;
/// The same for archives of few pictures.
const LEAST_ENTRIES: u32 = 1000;

/// The body of a request for a batch, unread.
pub(crate) struct BatchUpload {
    kind: Kind,
    segments: Segments,
    most: u64,
    rules: UploadRules,
    limits: BatchLimits,
    parameters: &'static [&'static str],
    hasher: Option<Sha256Hasher>,
    arrived: AtomicU64,
}

enum Kind {
    Form(Vec<u8>),
    Archive,
    List,
}

impl BatchUpload {
    /// The body of this request, whose pictures may have `parameters`.
    ///
    /// # Errors
    /// [`UploadError`] if it is none that could be accepted; it is not read then.
    pub(crate) fn of(
        request: &Request,
        body: &mut RequestBody,
        rules: &UploadRules,
        limits: BatchLimits,
        parameters: &'static [&'static str],
    ) -> Result<Self, UploadError> {
        let headers = request.headers();
        let kind = Kind::of(headers)?;
        check_encoding(headers)?;
        let most = match kind {
            Kind::Form(_) | Kind::Archive => limits.max_bytes.saturating_add(FORM_OVERHEAD_BYTES),
            Kind::List => {
                let items = u64::from(limits.max_items).saturating_mul(LIST_BYTES_PER_ITEM);
                items.saturating_add(FORM_OVERHEAD_BYTES)
            }
        };
        if content_length(headers).is_some_and(|length| length > most) {
            return Err(UploadError::BatchTooLarge { most });
        }
        check_queue(rules)?;
        let segments = body.take().unwrap_or_default().into_bytes_stream();
        Ok(Self {
            kind,
            segments: paced::paced(segments, rules.timeout, limits.timeout).boxed(),
            most,
            rules: rules.clone(),
            limits,
            parameters,
            hasher: hasher(headers, rules),
            arrived: AtomicU64::new(0),
        })
    }

    /// Its pictures.
    ///
    /// # Errors
    /// [`UploadError`] if it has none that could be read.
    pub(crate) async fn pictures(&mut self) -> Result<Pictures<'_>, UploadError> {
        let Self { kind, segments, most, rules, limits, parameters, hasher, arrived } = self;
        let body = LimitedBody::new(segments, &rules.limits, *most, arrived);
        let reader = content::Reader { rules, hasher: hasher.clone() };
        let entries = limits.max_items.saturating_mul(ENTRIES_PER_ITEM).max(LEAST_ENTRIES);
        let zip = ZipLimits { max_entries: entries, max_bytes: limits.max_bytes };
        let source = match kind {
            Kind::Form(boundary) => {
                let form = FormPictures::new(body, boundary, reader, zip, *limits, parameters);
                Source::Form(Box::new(form))
            }
            Kind::Archive => {
                let archive = ArchivePictures::after(zip, ZipUsage::default());
                Source::Archive(archive, body, reader)
            }
            Kind::List => {
                Source::List(ListPictures::read(body, reader, *limits, parameters).await?)
            }
        };
        Ok(Pictures { source, most: *most })
    }
}

impl Kind {
    fn of(headers: &HeaderMap) -> Result<Self, UploadError> {
        match boundary_of(headers) {
            Ok(boundary) => Ok(Self::Form(boundary)),
            Err(BoundaryError::OtherType(found)) => match found.to_ascii_lowercase().as_str() {
                "application/zip"
                | "application/x-zip-compressed"
                | "application/x-zip"
                | "application/octet-stream" => Ok(Self::Archive),
                "application/json" | "text/json" => Ok(Self::List),
                _ => Err(UploadError::NotABatch(found)),
            },
            Err(BoundaryError::NoType) => Err(UploadError::NotABatch(String::new())),
            Err(error) => Err(error.into()),
        }
    }
}

/// The pictures of a batch, in order.
pub(crate) struct Pictures<'a> {
    source: Source<'a>,
    most: u64,
}

#[allow(clippy::large_enum_variant, reason = "there is one for each request")]
enum Source<'a> {
    Form(Box<FormPictures<'a>>),
    Archive(ArchivePictures<'a>, Body<'a>, content::Reader<'a>),
    List(ListPictures<'a>),
}

impl Pictures<'_> {
    /// The parameters for all pictures, complete once the first picture has arrived.
    pub(crate) fn parameters(&self) -> &[(&'static str, Value)] {
        match &self.source {
            Source::Form(form) => form.parameters(),
            Source::Archive(..) => &[],
            Source::List(list) => list.parameters(),
        }
    }

    /// The parameters of single pictures that are known before their pictures arrive, with a pointer to each.
    pub(crate) fn item_parameters(&self) -> Vec<(String, &Given)> {
        match &self.source {
            Source::Form(form) => form.item_parameters(),
            Source::Archive(..) => Vec::new(),
            Source::List(list) => list.item_parameters(),
        }
    }

    /// The next picture, once there is a permit for it; `None` after the last one.
    ///
    /// # Errors
    /// [`UploadError`] if there is none, because of what is wrong with the batch as a whole.
    pub(crate) async fn next(&mut self) -> Result<Option<Arrived>, UploadError> {
        let next = match &mut self.source {
            Source::Form(form) => form.next().await,
            Source::Archive(archive, body, reader) => next_entry(archive, body, reader).await,
            Source::List(list) => list.next().await,
        };
        next.map_err(|error| match error {
            UploadError::FormTooLarge { .. } => UploadError::BatchTooLarge { most: self.most },
            error => paced::in_words(error),
        })
    }
}

async fn next_entry<'a>(
    archive: &mut ArchivePictures<'a>,
    body: &mut Body<'_>,
    reader: &content::Reader<'a>,
) -> Result<Option<Arrived>, UploadError> {
    loop {
        match archive.next(reader).await? {
            Step::NeedsMore => archive.feed(body.next().await?),
            Step::Picture(arrived) => return Ok(Some(arrived)),
            Step::End => return Ok(None),
        }
    }
}
