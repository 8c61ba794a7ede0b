//! A picture that has arrived.

use std::sync::Arc;

use bytes::Bytes;
use domain::Sha256Digest;
use tokio::sync::OwnedSemaphorePermit;

/// A permit for memory. The pictures of one body share that of the body.
pub(crate) type UploadSlot = Arc<OwnedSemaphorePermit>;

/// A complete picture with a valid header.
#[derive(Debug)]
pub(crate) struct UploadedPicture {
    /// Its file name as sent by the client.
    pub(crate) name: String,
    /// Its encoded bytes as received.
    pub(crate) bytes: Bytes,
    /// Their digest, or `None` if the result is not to be cached.
    pub(crate) sha256: Option<Sha256Digest>,
    /// Its permit for memory, to be held as long as the bytes.
    pub(crate) slot: UploadSlot,
}
