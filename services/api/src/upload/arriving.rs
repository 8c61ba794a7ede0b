//! A picture while it arrives.

use bytes::{Bytes, BytesMut};
use domain::{
    Sha256Digest, Sha256Hasher,
    picture::{PictureError, PictureHeader, PictureLimits, inspect, inspect_header},
};

/// A picture of which some bytes have arrived.
pub(super) struct ArrivingPicture<'a> {
    limits: &'a PictureLimits,
    bytes: BytesMut,
    header: Option<PictureHeader>,
    /// The header is searched for again once this many bytes have arrived.
    look_at: usize,
    hasher: Option<Sha256Hasher>,
}

impl<'a> ArrivingPicture<'a> {
    /// Allocates `expected_bytes`, as far as `limits` allow. `hasher`, if any, hashes the bytes.
    pub(super) fn new(
        limits: &'a PictureLimits,
        expected_bytes: u64,
        hasher: Option<Sha256Hasher>,
    ) -> Self {
        let capacity = usize::try_from(expected_bytes.min(limits.max_bytes)).unwrap_or_default();
        Self { limits, bytes: BytesMut::with_capacity(capacity), header: None, look_at: 0, hasher }
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    /// [`PictureError`], as early as possible: a decompression bomb or a text file is rejected at its first
    /// bytes and not after its last. The error does not depend on how the bytes are split.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), PictureError> {
        self.bytes.extend_from_slice(bytes);
        // In small steps: hashing a large picture at once would block other requests.
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        let max_bytes = self.limits.max_bytes;
        if self.bytes.len() as u64 > max_bytes {
            self.check()?;
            return Err(PictureError::TooManyBytes { max_bytes });
        }
        if self.header.is_none() && self.bytes.len() >= self.look_at {
            self.header = inspect_header(&self.bytes, self.limits)?;
            // Each search starts at the first byte, so the length doubles between searches.
            self.look_at = self.bytes.len() * 2;
        }
        Ok(())
    }

    /// Searches for the header in all bytes that have arrived.
    ///
    /// # Errors
    /// [`PictureError`], except for the number of bytes.
    pub(super) fn check(&self) -> Result<(), PictureError> {
        let most = usize::try_from(self.limits.max_bytes).unwrap_or(usize::MAX);
        match self.header {
            Some(_) => Ok(()),
            None => {
                inspect_header(&self.bytes[..self.bytes.len().min(most)], self.limits).map(drop)
            }
        }
    }

    /// The complete picture, and its digest if it was hashed.
    ///
    /// # Errors
    /// [`PictureError`] if it is not a picture, or incomplete.
    pub(super) fn finish(self) -> Result<(Bytes, Option<Sha256Digest>), PictureError> {
        inspect(&self.bytes, self.limits)?;
        Ok((self.bytes.freeze(), self.hasher.map(Sha256Hasher::finish)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PictureLimits = PictureLimits { max_bytes: 100, max_pixels: 1000 };

    fn receive(
        bytes: &[u8],
        segment: usize,
    ) -> Result<(Bytes, Option<Sha256Digest>), PictureError> {
        let mut picture = ArrivingPicture::new(&LIMITS, 0, Some(Sha256Hasher::new()));
        for segment in bytes.chunks(segment) {
            picture.push(segment)?;
        }
        picture.finish()
    }

    #[test]
    fn the_outcome_does_not_depend_on_the_segments() {
        let gif = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b";
        let mut bomb = gif.to_vec();
        bomb[6..10].copy_from_slice(&[255, 255, 255, 255]);
        let padded = [&gif[..], &[0; 300]].concat();
        let short_jpeg = [&b"\xFF\xD8\xFF\xE1\x00\x10"[..], &[0; 300]].concat();
        for bytes in [&gif[..], &bomb, &padded, &short_jpeg, b"", b"text", &[b'x'; 500], &gif[..20]]
        {
            let whole = receive(bytes, 1000);
            for segment in 1..50 {
                assert_eq!(receive(bytes, segment), whole, "{segment}");
            }
        }
        assert!(receive(gif, 7).is_ok());
    }
}
