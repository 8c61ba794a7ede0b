//! Reads one picture from whatever it is in.

use std::sync::Arc;

use domain::{Sha256Hasher, picture::PictureError};

use super::arrived::{Arrived, ArrivedPicture};
use crate::upload::{
    arriving::ArrivingPicture,
    error::UploadError,
    incoming_body,
    limited_body::LimitedBody,
    rules::{INITIAL_CAPACITY, UploadRules},
    uploaded::{UploadSlot, UploadedPicture},
};

/// The first bytes of archives: zip, gzip, 7z, RAR, xz.
const ARCHIVES: [&[u8]; 5] =
    [b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\xfd7zXZ\x00"];

/// The body of the request.
pub(super) type Body<'a> = LimitedBody<'a, Segments<'a>>;

/// Its segments.
pub(super) type Segments<'a> = &'a mut incoming_body::Segments;

/// What pictures are read with.
pub(super) struct Reader<'a> {
    pub(super) rules: &'a UploadRules,
    pub(super) hasher: Option<Sha256Hasher>,
}

/// A picture of which some bytes have been read.
pub(super) struct Reading<'a> {
    name: String,
    slot: UploadSlot,
    picture: ArrivingPicture<'a>,
    /// Its first bytes, which tell an archive.
    start: Vec<u8>,
    error: Option<UploadError>,
}

impl<'a> Reader<'a> {
    /// A permit for a picture, once there is one.
    pub(super) async fn slot(&self) -> Result<UploadSlot, UploadError> {
        let slot = Arc::clone(&self.rules.slots).acquire_owned().await;
        slot.map(Arc::new).map_err(|_| UploadError::TooManyUploads)
    }

    /// Begins a picture, once there is a permit for it.
    pub(super) async fn begin(&self, name: String) -> Result<Reading<'a>, UploadError> {
        let slot = self.slot().await?;
        let picture =
            ArrivingPicture::new(&self.rules.limits, INITIAL_CAPACITY, self.hasher.clone());
        Ok(Reading { name, slot, picture, start: Vec::new(), error: None })
    }
}

impl Reading<'_> {
    /// Adds the next bytes. Returns whether the rest is wanted: not of what is no picture.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        if self.error.is_some() {
            return false;
        }
        let room = 8 - self.start.len();
        self.start.extend_from_slice(&bytes[..room.min(bytes.len())]);
        if let Err(error) = self.picture.push(bytes) {
            self.error = Some(self.refused(error));
        }
        self.error.is_none()
    }

    /// Refuses it, unless it was refused before.
    pub(super) fn fail(&mut self, error: UploadError) {
        self.error.get_or_insert(error);
    }

    /// The picture, or why there is none.
    pub(super) fn end(self) -> Arrived {
        let Self { name, slot, picture, start, error } = self;
        let finished = match error {
            Some(error) => Err(error),
            None => picture.finish().map_err(|error| refusal(&name, &start, error)),
        };
        let picture = match finished {
            Ok((bytes, sha256)) => {
                ArrivedPicture::Sent(UploadedPicture { name: name.clone(), bytes, sha256, slot })
            }
            Err(error) => ArrivedPicture::Refused(error),
        };
        Arrived { name, picture, parameters: Vec::new() }
    }

    fn refused(&self, error: PictureError) -> UploadError {
        refusal(&self.name, &self.start, error)
    }
}

fn refusal(name: &str, start: &[u8], error: PictureError) -> UploadError {
    let is_archive = ARCHIVES.iter().any(|archive| start.starts_with(archive));
    match error {
        PictureError::Unrecognised if is_archive => UploadError::NestedArchive,
        error => UploadError::Picture { filename: name.to_owned(), error },
    }
}
