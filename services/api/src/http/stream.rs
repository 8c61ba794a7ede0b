//! A client's TCP stream that reports its progress to [`Timeouts`].

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::timeouts::Timeouts;

/// Maximum size of one read while a body is discarded.
pub(super) const CHUNK_BYTES: usize = 16 * 1024;

/// A client's stream that reports reads and blocked writes.
pub(super) struct TimedStream {
    stream: TcpStream,
    timeouts: Timeouts,
}

impl TimedStream {
    pub(super) fn new(stream: TcpStream, timeouts: Timeouts) -> Self {
        Self { stream, timeouts }
    }

    /// Reads at most [`CHUNK_BYTES`]: hyper's buffer grows with the size of reads, and discarding must not
    /// take memory.
    fn poll_read_chunk(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = buffer.remaining().min(CHUNK_BYTES);
        let mut chunk = ReadBuf::new(buffer.initialize_unfilled_to(most));
        let outcome = Pin::new(&mut self.stream).poll_read(context, &mut chunk);
        let count = chunk.filled().len();
        buffer.advance(count);
        self.timeouts.received(count);
        outcome
    }

    fn written(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if outcome.is_pending() {
            self.timeouts.blocked();
        }
        outcome
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.timeouts.is_discarding() {
            return self.poll_read_chunk(context, buffer);
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.timeouts.received(buffer.filled().len() - before);
        outcome
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called once everything is written. Only that resets the timeout, not partial progress; otherwise a
    /// client that reads one byte a minute would never time out.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.timeouts.flushed();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Drop for TimedStream {
    fn drop(&mut self) {
        if self.timeouts.is_blocked() {
            // The kernel would try for minutes to send what this client has not read.
            let _ = self.stream.set_zero_linger();
        }
    }
}
