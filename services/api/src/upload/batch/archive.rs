//! The pictures in a zip archive.

use bytes::Bytes;

use super::{
    arrived::Arrived,
    content::{Reader, Reading},
};
use crate::upload::{
    error::UploadError,
    zip::{Event, Parser, ZipLimits, ZipUsage, entry_name, is_ignored},
};

/// An archive that is being read.
pub(super) struct ArchivePictures<'a> {
    parser: Parser,
    reading: Option<Reading<'a>>,
}

/// What an archive has next.
pub(super) enum Step {
    /// It needs its next segment, or its end.
    NeedsMore,
    /// A picture, or what is in its place.
    Picture(Arrived),
    /// There are no more entries.
    End,
}

impl<'a> ArchivePictures<'a> {
    /// After others with this usage: all together have the limits of one.
    pub(super) fn after(limits: ZipLimits, earlier: ZipUsage) -> Self {
        Self { parser: Parser::after(limits, earlier), reading: None }
    }

    /// What this archive and earlier ones have used of the limits.
    pub(super) fn usage(&self) -> ZipUsage {
        self.parser.usage()
    }

    /// Adds the next segment after [`Step::NeedsMore`]; `None`: there is none.
    pub(super) fn feed(&mut self, segment: Option<Bytes>) {
        match segment {
            Some(segment) => self.parser.feed(&segment),
            None => self.parser.finish(),
        }
    }

    /// The next picture, as soon as it is complete.
    pub(super) async fn next(&mut self, reader: &Reader<'a>) -> Result<Step, UploadError> {
        loop {
            match self.parser.next()? {
                Event::NeedsMore => return Ok(Step::NeedsMore),
                Event::End => return Ok(Step::End),
                Event::Entry(name) if is_ignored(&name) => self.parser.discard(),
                Event::Entry(name) => self.reading = Some(reader.begin(entry_name(&name)).await?),
                Event::Content(bytes) => {
                    if self.reading.as_mut().is_some_and(|reading| !reading.push(&bytes)) {
                        self.parser.discard();
                    }
                    // Inflating a large picture at once would block other requests.
                    tokio::task::yield_now().await;
                }
                Event::EntryEnd(end) => {
                    let Some(mut reading) = self.reading.take() else { continue };
                    if let Err(error) = end {
                        reading.fail(UploadError::Entry(error));
                    }
                    return Ok(Step::Picture(reading.end()));
                }
            }
        }
    }
}
