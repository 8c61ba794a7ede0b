//! Rejects connections beyond the limit with a 503 that their clients can read.

use std::{
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::timeouts::MAX_DISCARDED_BYTES;

/// The response to a connection beyond the limit.
const REJECTION: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
    retry-after: 5\r\nconnection: close\r\ncontent-length: 52\r\n\r\n\
    {\"error\":\"too many connections, try again shortly\"}\n";
/// Maximum number of connections that are rejected with care at one time; further ones are closed
/// immediately.
pub(super) const MAX_REJECTIONS: usize = 64;
/// Timeout for the first byte of a request. Some clients (Go's) drop a response that arrives before they have
/// written their request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of a rejection, including reading and discarding the request.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Rejects connections, a limited number of them at one time.
pub(super) struct Rejections {
    slots: Arc<Semaphore>,
    open: TaskTracker,
    abandoned: CancellationToken,
}

impl Rejections {
    /// `abandoned` aborts all of them.
    pub(super) fn new(abandoned: CancellationToken) -> Self {
        let slots = Arc::new(Semaphore::new(MAX_REJECTIONS));
        Self { slots, open: TaskTracker::new(), abandoned }
    }

    /// Rejects a connection in a task of its own.
    pub(super) fn reject(&self, stream: TcpStream) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return reject_immediately(stream);
        };
        let abandoned = self.abandoned.clone();
        self.open.spawn(async move {
            let _slot = slot;
            let responding = timeout(REJECTION_TIMEOUT, respond(stream));
            // An error is a client that disconnected.
            let _ = abandoned.run_until_cancelled(responding).await;
        });
    }

    /// Waits until all rejected connections are closed.
    pub(super) async fn end(&self) {
        self.open.close();
        self.open.wait().await;
    }
}

/// Responds, and reads until the client closes: the kernel resets a connection that is closed with unread
/// bytes, and the client may lose the response.
async fn respond(mut stream: TcpStream) -> std::io::Result<()> {
    let _ = timeout(REQUEST_TIMEOUT, stream.readable()).await;
    stream.write_all(REJECTION).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(MAX_DISCARDED_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

fn reject_immediately(stream: TcpStream) {
    // Taken from the runtime, whose streams must be polled for readiness first.
    let Ok(mut stream) = stream.into_std() else { return };
    let _ = stream.write(REJECTION);
    let _ = stream.read(&mut [0; 4096]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rejection_has_its_content_length() {
        let text = std::str::from_utf8(REJECTION).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    }
}
