//! A client's connection as bytes, whose progress its [`Pace`] follows.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::timeouts::Pace;

/// How much is read at once of what is only discarded.
pub(super) const PIECE_BYTES: usize = 16 * 1024;

/// A client's stream that tells its [`Pace`] what comes and what does not go.
pub(super) struct PacedStream {
    stream: TcpStream,
    pace: Pace,
}

impl PacedStream {
    pub(super) fn new(stream: TcpStream, pace: Pace) -> Self {
        Self { stream, pace }
    }

    /// Reads no more than [`PIECE_BYTES`]: buffers grow with what is read at once, and what is only to be
    /// discarded is to take no memory.
    fn poll_read_piece(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = buffer.remaining().min(PIECE_BYTES);
        let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(most));
        let outcome = Pin::new(&mut self.stream).poll_read(context, &mut piece);
        let count = piece.filled().len();
        buffer.advance(count);
        self.pace.received(count);
        outcome
    }

    fn written(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if outcome.is_pending() {
            self.pace.blocked();
        }
        outcome
    }
}

impl AsyncRead for PacedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.pace.is_discarding() {
            return self.poll_read_piece(context, buffer);
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.pace.received(buffer.filled().len() - before);
        outcome
    }
}

impl AsyncWrite for PacedStream {
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

    /// Called once everything was written: that alone, and not some progress, ends a client's time, or
    /// one byte a minute would do.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pace.flushed();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Drop for PacedStream {
    fn drop(&mut self) {
        if self.pace.is_blocked() {
            // What this client has not read, the kernel would go on trying to send for minutes.
            let _ = self.stream.set_zero_linger();
        }
    }
}
