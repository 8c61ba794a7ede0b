//! The pictures in a form: each of its files, in any field, and the entries of those that are zip archives. Fields before
//! the first file are parameters for all pictures; `items` has parameters by the name of a picture.

use bytes::BytesMut;
use serde_json::Value;

use super::{
    archive::{ArchivePictures, Step},
    arrived::{Arrived, Given},
    content::{Body, Reader, Segments},
    limits::BatchLimits,
    list::by_name,
};
use crate::upload::{
    error::UploadError,
    form::Form,
    multipart::{PartHead, printable, without_controls},
    rules::{ITEMS, MAX_FILE_NAME_CHARS},
    zip::{ZipLimits, ZipUsage},
};

/// The signature of a zip archive: its first entry, its end if it has none.
const ARCHIVES: [&[u8]; 3] = [b"PK\x03\x04", b"PK\x05\x06", b"PK00"];
/// How many fields a form may have besides its pictures.
const MAX_FIELDS: usize = 1000;
/// The longest `items`, in bytes for each picture.
const ITEM_BYTES: usize = 1024;

type Inner<'a> = Form<'a, Segments<'a>>;

/// A form that is being read.
pub(super) struct FormPictures<'a> {
    form: Inner<'a>,
    reader: Reader<'a>,
    /// The limits of all archives together, and what they have used.
    zip: ZipLimits,
    used: ZipUsage,
    max_items: usize,
    known: &'static [&'static str],
    parameters: Given,
    of_items: Vec<(String, Given)>,
    /// Whether a file has been found.
    has_begun: bool,
    archive: Option<ArchivePictures<'a>>,
}

impl<'a> FormPictures<'a> {
    pub(super) fn new(
        body: Body<'a>,
        boundary: &[u8],
        reader: Reader<'a>,
        zip: ZipLimits,
        limits: BatchLimits,
        known: &'static [&'static str],
    ) -> Self {
        let max_items = usize::try_from(limits.max_items).unwrap_or(usize::MAX);
        let max_parts = max_items.saturating_add(MAX_FIELDS);
        let form = Form::of_parts(body, boundary, &reader.rules.limits, max_parts);
        Self {
            form,
            reader,
            zip,
            used: ZipUsage::default(),
            max_items,
            known,
            parameters: Vec::new(),
            of_items: Vec::new(),
            has_begun: false,
            archive: None,
        }
    }

    pub(super) fn parameters(&self) -> &[(&'static str, Value)] {
        &self.parameters
    }

    pub(super) fn item_parameters(&self) -> Vec<(String, &Given)> {
        let pointer = |name: &str| format!("/{ITEMS}/{}", printable(name));
        self.of_items.iter().map(|(name, given)| (pointer(name), given)).collect()
    }

    pub(super) async fn next(&mut self) -> Result<Option<Arrived>, UploadError> {
        loop {
            if let Some(archive) = &mut self.archive {
                match archive.next(&self.reader).await? {
                    Step::NeedsMore => archive.feed(self.form.content().await?),
                    Step::Picture(arrived) => return Ok(Some(self.with_parameters(arrived))),
                    Step::End => {
                        self.used = archive.usage();
                        self.archive = None;
                        self.form.skip_part().await?;
                    }
                }
                continue;
            }
            let Some(part) = self.form.next_part().await? else { return Ok(None) };
            let arrived = match part.file_name {
                Some(_) => self.file(&part).await?,
                None => {
                    self.field(&part).await?;
                    None
                }
            };
            if let Some(arrived) = arrived {
                self.form.skip_part().await?;
                return Ok(Some(self.with_parameters(arrived)));
            }
        }
    }

    async fn field(&mut self, part: &PartHead) -> Result<(), UploadError> {
        let Some(name) = part.name.as_deref() else { return Ok(()) };
        let parameter = self.known.iter().find(|known| **known == name);
        let is_used = parameter.is_some() || name == ITEMS;
        if is_used && self.has_begun {
            let detail = format!("{name} must be before the first picture in the form");
            return Err(UploadError::Parameter { name: name.to_owned(), detail });
        }
        match parameter {
            Some(name) => self.parameters.push((name, self.form.read_parameter(name).await?)),
            None if name == ITEMS => {
                let most = self.max_items.saturating_mul(ITEM_BYTES);
                let text = self.form.read_text(ITEMS, most).await?;
                self.of_items = by_name(&text, self.max_items, self.known)?;
            }
            None => {}
        }
        Ok(())
    }

    /// The picture in a part, unless that is an archive.
    async fn file(&mut self, part: &PartHead) -> Result<Option<Arrived>, UploadError> {
        let name = file_name(part);
        let mut start = BytesMut::new();
        while start.len() < 4 {
            match self.form.content().await? {
                Some(bytes) => start.extend_from_slice(&bytes),
                None => break,
            }
        }
        if name.is_empty() && start.is_empty() {
            // The input of a page in which no file was chosen.
            return Ok(None);
        }
        self.has_begun = true;
        let start = start.freeze();
        if ARCHIVES.iter().any(|archive| start.starts_with(archive)) {
            let mut archive = ArchivePictures::after(self.zip, self.used);
            archive.feed(Some(start));
            self.archive = Some(archive);
            return Ok(None);
        }
        let mut reading = self.reader.begin(name).await?;
        if !matches!(part.transfer_encoding.as_str(), "" | "binary" | "8bit" | "7bit") {
            let encoding = printable(&part.transfer_encoding).into_owned();
            reading.fail(UploadError::TransferEncoding(encoding));
        }
        let mut is_wanted = reading.push(&start);
        while is_wanted && let Some(bytes) = self.form.content().await? {
            is_wanted = reading.push(&bytes);
        }
        Ok(Some(reading.end()))
    }

    fn with_parameters(&self, mut arrived: Arrived) -> Arrived {
        let of_item = self.of_items.iter().find(|(name, _)| *name == arrived.name);
        arrived.parameters = of_item.map(|(_, given)| given.clone()).unwrap_or_default();
        arrived
    }
}

/// The name of a file, without control characters and not too long.
fn file_name(part: &PartHead) -> String {
    let name = without_controls(part.file_name.as_deref().unwrap_or_default());
    name.chars().take(MAX_FILE_NAME_CHARS).collect()
}
