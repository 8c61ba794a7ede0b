//! Refuses connections beyond the limit with a 503 that their clients can see.

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

/// The answer to a connection beyond the limit.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
    retry-after: 5\r\nconnection: close\r\ncontent-length: 52\r\n\r\n\
    {\"error\":\"too many connections, try again shortly\"}\n";
/// The most connections that are refused with care at one time; beyond it, they are closed at once.
pub(super) const MOST_REFUSALS: usize = 64;
/// How long the first byte of a request is awaited: some clients (Go's) drop an answer that arrives before
/// they have written their request.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a refusal may take, with the reading and discarding of the request.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Refuses connections, a limited number of them at one time.
pub(super) struct Refusals {
    places: Arc<Semaphore>,
    open: TaskTracker,
    abandoned: CancellationToken,
}

impl Refusals {
    /// All of them end with `abandoned`.
    pub(super) fn new(abandoned: CancellationToken) -> Self {
        let places = Arc::new(Semaphore::new(MOST_REFUSALS));
        Self { places, open: TaskTracker::new(), abandoned }
    }

    /// Refuses a connection in a task of its own.
    pub(super) fn refuse(&self, stream: TcpStream) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return refuse_at_once(stream);
        };
        let abandoned = self.abandoned.clone();
        self.open.spawn(async move {
            let _place = place;
            let told = timeout(REFUSAL_TIMEOUT, tell(stream));
            // An error is a client that went away.
            let _ = abandoned.run_until_cancelled(told).await;
        });
    }

    /// Waits until all refused connections are closed.
    pub(super) async fn end(&self) {
        self.open.close();
        self.open.wait().await;
    }
}

/// Answers, and reads until the client closes: the kernel resets a connection that is closed with unread
/// bytes, and the client may lose the answer.
async fn tell(mut stream: TcpStream) -> std::io::Result<()> {
    let _ = timeout(QUESTION_TIMEOUT, stream.readable()).await;
    stream.write_all(REFUSAL).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(MAX_DISCARDED_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

fn refuse_at_once(stream: TcpStream) {
    // Taken from the runtime, which would have to be asked first whether it can be written to.
    let Ok(mut stream) = stream.into_std() else { return };
    let _ = stream.write(REFUSAL);
    let _ = stream.read(&mut [0; 4096]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_says_its_own_length() {
        let text = std::str::from_utf8(REFUSAL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    }
}
