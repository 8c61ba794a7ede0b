//! How long a client may keep its connection waiting.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::ConnectionLimits;

/// What a client was too slow with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The header of a request.
    Header,
    /// A request after an answer.
    NextRequest,
    /// Reading its answer.
    Answer,
}

/// What is expected of a client, and since when. Cheap to clone; all clones are the same connection's.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    limits: ConnectionLimits,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    awaited: Awaited,
    /// Since when something is to be written that the client does not take.
    blocked_since: Option<Instant>,
}

#[derive(Debug)]
enum Awaited {
    /// The end of a header.
    Header { since: Instant },
    /// A request is being answered. How long its body may take is the route's to say.
    Nothing,
    /// The first byte of the next request.
    NextRequest { since: Instant },
}

impl Pace {
    /// Of a connection that begins now: its first request is due.
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        let awaited = Awaited::Header { since: Instant::now() };
        Self { limits, state: Arc::new(Mutex::new(State { awaited, blocked_since: None })) }
    }

    /// A request's header is complete.
    pub(super) fn header_came(&self) {
        self.lock().awaited = Awaited::Nothing;
    }

    /// The answer is made, and its sending begins.
    pub(super) fn answered(&self) {
        self.lock().awaited = Awaited::NextRequest { since: Instant::now() };
    }

    /// Until when the client has to do something, and what.
    pub(super) fn deadline(&self) -> Option<(Instant, Overdue)> {
        let ConnectionLimits { header_timeout, keep_alive, answer_timeout, .. } = self.limits;
        let state = self.lock();
        if let Some(since) = state.blocked_since {
            return Some((since + answer_timeout, Overdue::Answer));
        }
        match state.awaited {
            Awaited::Header { since } => Some((since + header_timeout, Overdue::Header)),
            Awaited::NextRequest { since } => Some((since + keep_alive, Overdue::NextRequest)),
            Awaited::Nothing => None,
        }
    }

    fn received(&self) {
        let mut state = self.lock();
        if matches!(state.awaited, Awaited::NextRequest { .. }) {
            state.awaited = Awaited::Header { since: Instant::now() };
        }
    }

    fn blocked(&self) {
        self.lock().blocked_since.get_or_insert_with(Instant::now);
    }

    fn flushed(&self) {
        self.lock().blocked_since = None;
    }

    fn is_blocked(&self) -> bool {
        self.lock().blocked_since.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a single one: whoever panicked with the lock left it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's stream that tells its [`Pace`] what comes and what does not go.
pub(super) struct PacedStream {
    stream: TcpStream,
    pace: Pace,
}

impl PacedStream {
    pub(super) fn new(stream: TcpStream, pace: Pace) -> Self {
        Self { stream, pace }
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
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.pace.received();
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        most: 1,
        header_timeout: Duration::from_secs(1),
        keep_alive: Duration::from_secs(2),
        answer_timeout: Duration::from_secs(3),
    };

    fn due(pace: &Pace) -> Option<Overdue> {
        pace.deadline().map(|(_, what)| what)
    }

    #[test]
    fn each_stage_of_a_request_has_its_own_deadline() {
        let pace = Pace::new(LIMITS);
        assert_eq!(due(&pace), Some(Overdue::Header), "a connection that says nothing is overdue");
        pace.header_came();
        assert_eq!(due(&pace), None);
        pace.received();
        assert_eq!(due(&pace), None, "a body is the route's business");
        pace.blocked();
        assert_eq!(due(&pace), Some(Overdue::Answer));
        pace.answered();
        pace.flushed();
        assert_eq!(due(&pace), Some(Overdue::NextRequest));
        pace.received();
        assert_eq!(due(&pace), Some(Overdue::Header));
    }

    #[test]
    fn neither_more_bytes_of_a_header_nor_a_little_read_give_more_time() {
        let pace = Pace::new(LIMITS);
        let header = pace.deadline();
        pace.received();
        assert_eq!(pace.deadline(), header);
        pace.blocked();
        let answer = pace.deadline();
        pace.blocked();
        assert_eq!(pace.deadline(), answer);
    }
}
