//! The body of a request as a stream of segments, limited in size.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::{Bytes, BytesMut};
use domain::picture::PictureLimits;
use futures_util::{Stream, StreamExt};

use super::{error::UploadError, rules::INITIAL_CAPACITY};

/// A body that is read up to the limit.
pub(super) struct LimitedBody<'a, S> {
    segments: S,
    limits: &'a PictureLimits,
    /// How many bytes the body may have.
    most: u64,
    /// How many bytes have arrived.
    arrived: &'a AtomicU64,
    /// How many more bytes are read.
    left: u64,
    /// Whether the body has more bytes than that.
    is_over: bool,
}

impl<'a, S: Stream<Item = io::Result<Bytes>> + Unpin> LimitedBody<'a, S> {
    /// A body of at most `most` bytes that arrives in `segments`; `arrived` counts its bytes.
    pub(super) fn new(
        segments: S,
        limits: &'a PictureLimits,
        most: u64,
        arrived: &'a AtomicU64,
    ) -> Self {
        Self { segments, limits, most, arrived, left: most, is_over: false }
    }

    /// The next bytes, or `None` at the end of the body.
    ///
    /// # Errors
    /// [`UploadError::FormTooLarge`] once all bytes within the limit have been read, so that the error does
    /// not depend on how the body is split; [`UploadError::Body`].
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, UploadError> {
        if self.is_over {
            let max_bytes = self.limits.max_bytes;
            return Err(UploadError::FormTooLarge { most: self.most, max_bytes });
        }
        let Some(segment) = self.segments.next().await else { return Ok(None) };
        let mut segment = segment?;
        let bytes = segment.len() as u64;
        self.arrived.fetch_add(bytes, Ordering::Relaxed);
        if bytes > self.left {
            self.is_over = true;
            segment.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        }
        self.left = self.left.saturating_sub(bytes);
        Ok(Some(segment))
    }

    /// Reads the rest of a body whose `Content-Length` is `length`, behind what was read of it before.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(super) async fn read_to_end(
        &mut self,
        mut read: BytesMut,
        length: Option<u64>,
    ) -> Result<BytesMut, UploadError> {
        let expected = usize::try_from(length.unwrap_or(INITIAL_CAPACITY)).unwrap_or_default();
        read.reserve(expected.saturating_sub(read.len()));
        while let Some(segment) = self.next().await? {
            read.extend_from_slice(&segment);
        }
        Ok(read)
    }
}
