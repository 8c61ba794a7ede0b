//! The timeouts of a connection: how long its client may take for what is expected next.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::limits::ConnectionLimits;

/// Maximum size of an unread body that is discarded after the response, in bytes. 1 GiB, fifty times the
/// default limit of a picture, lets a client that uploads a video by mistake read its 413. Discarding costs
/// no memory, and less CPU time per byte than an accepted upload, so the timeout is the limit that matters.
pub(super) const MAX_DISCARDED_BYTES: u64 = 1 << 30;
/// Timeout for the next byte of such a body: the default of nginx's `lingering_timeout`.
const DISCARD_IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an unread body is discarded: at least, after a late response such as a 408, and at most, after a
/// shutdown has begun.
const MIN_DISCARD_TIME: Duration = Duration::from_secs(3);

/// Which timeout has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The header of a request.
    Header,
    /// The next request after a response.
    NextRequest,
    /// Reading the response.
    Answer,
    /// The unread body of an answered request: it is too large or takes too long.
    UnreadBody,
    /// The unread body of an answered request: no byte arrived for [`DISCARD_IDLE_TIMEOUT`].
    SilentBody,
}

/// What the client of a connection has to do next, and until when. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Timeouts {
    limits: ConnectionLimits,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    awaited: Awaited,
    /// Whether a response is written as its content comes up, for as long as that takes.
    is_streaming: bool,
    /// Since when a write is blocked because the client does not read.
    blocked_since: Option<Instant>,
    /// When the header of the newest request was complete.
    request_since: Instant,
    /// When the shutdown began.
    shutdown_at: Option<Instant>,
}

#[derive(Debug)]
enum Awaited {
    /// The end of a header, of which some bytes may have arrived.
    Header { since: Instant, has_started: bool },
    /// A request is being answered. The route has its own timeout for the body.
    Nothing,
    /// The first byte of the next request.
    NextRequest { since: Instant },
    /// The unread body of an answered request, until the client has sent it or disconnects.
    UnreadBody(Discard),
}

/// The progress of an unread body.
#[derive(Debug, Clone, Copy)]
struct Discard {
    /// When the request was answered.
    since: Instant,
    /// When the newest byte arrived.
    newest: Instant,
    bytes: u64,
}

impl Discard {
    fn starting_now() -> Self {
        let now = Instant::now();
        Self { since: now, newest: now, bytes: 0 }
    }
}

impl Timeouts {
    /// For a new connection: its first request is expected.
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        let now = Instant::now();
        let state = State {
            awaited: Awaited::Header { since: now, has_started: false },
            is_streaming: false,
            blocked_since: None,
            request_since: now,
            shutdown_at: None,
        };
        Self { limits, state: Arc::new(Mutex::new(state)) }
    }

    /// The header of a request is complete.
    pub(super) fn header_received(&self) {
        let mut state = self.state.lock();
        state.awaited = Awaited::Nothing;
        state.request_since = Instant::now();
    }

    /// The response is ready to be sent, and the request was read completely.
    pub(super) fn answered(&self) {
        self.state.lock().awaited = Awaited::NextRequest { since: Instant::now() };
    }

    /// The response is ready to be sent, and a part of the request's body is unread.
    pub(super) fn answered_early(&self) {
        self.state.lock().awaited = Awaited::UnreadBody(Discard::starting_now());
    }

    /// The response's content comes up over time. The client has nothing to do until its end but to read.
    pub(super) fn start_streaming(&self) {
        self.state.lock().is_streaming = true;
    }

    /// The end of that response is ready to be sent.
    pub(super) fn end_streaming(&self) {
        let mut state = self.state.lock();
        state.is_streaming = false;
        if let Awaited::NextRequest { since } = &mut state.awaited {
            *since = Instant::now();
        }
    }

    /// The unread body has been discarded completely.
    pub(super) fn body_discarded(&self) {
        let mut state = self.state.lock();
        // Unless the next request has arrived with it.
        if matches!(state.awaited, Awaited::UnreadBody(_)) {
            state.awaited = Awaited::NextRequest { since: Instant::now() };
        }
    }

    /// The server closes the connection. Returns whether the client may still be sending.
    pub(super) fn start_closing(&self) -> bool {
        let mut state = self.state.lock();
        match state.awaited {
            Awaited::UnreadBody(_) => true,
            // The parser has rejected the header, or the client has closed its side within it.
            Awaited::Header { has_started: true, .. } => {
                state.awaited = Awaited::UnreadBody(Discard::starting_now());
                state.request_since = Instant::now();
                true
            }
            Awaited::Header { .. } | Awaited::Nothing | Awaited::NextRequest { .. } => false,
        }
    }

    /// The shutdown begins: unread bodies are discarded for at most [`MIN_DISCARD_TIME`].
    pub(super) fn begin_shutdown(&self) {
        self.state.lock().shutdown_at.get_or_insert_with(Instant::now);
    }

    /// Whether the shutdown has begun.
    pub(super) fn is_stopping(&self) -> bool {
        self.state.lock().shutdown_at.is_some()
    }

    /// The next deadline of the client, and what it is for.
    pub(super) fn deadline(&self) -> Option<(Instant, Overdue)> {
        let ConnectionLimits { header_timeout, keep_alive, answer_timeout, .. } = self.limits;
        let state = self.state.lock();
        let to_read = state.blocked_since.map(|since| (since + answer_timeout, Overdue::Answer));
        let to_send = match state.awaited {
            Awaited::UnreadBody(discard) => Some(self.end_of_discard(&state, discard)),
            _ if to_read.is_some() || state.is_streaming => None,
            Awaited::Header { since, .. } => Some((since + header_timeout, Overdue::Header)),
            Awaited::NextRequest { since } => Some((since + keep_alive, Overdue::NextRequest)),
            Awaited::Nothing => None,
        };
        to_read.into_iter().chain(to_send).min_by_key(|(deadline, _)| *deadline)
    }

    /// A rejected request may take as long to arrive as an accepted one.
    fn end_of_discard(&self, state: &State, discard: Discard) -> (Instant, Overdue) {
        if discard.bytes > MAX_DISCARDED_BYTES {
            return (discard.newest, Overdue::UnreadBody);
        }
        let until = state.request_since + self.limits.body_timeout;
        let mut until = until.max(discard.since + MIN_DISCARD_TIME);
        if let Some(shutdown_at) = state.shutdown_at {
            until = until.min(shutdown_at.max(discard.since) + MIN_DISCARD_TIME);
        }
        let silence = discard.newest + DISCARD_IDLE_TIMEOUT;
        if silence < until { (silence, Overdue::SilentBody) } else { (until, Overdue::UnreadBody) }
    }

    pub(super) fn is_discarding(&self) -> bool {
        matches!(self.state.lock().awaited, Awaited::UnreadBody(_))
    }

    pub(super) fn received(&self, count: usize) {
        if count == 0 {
            return;
        }
        let mut state = self.state.lock();
        match &mut state.awaited {
            Awaited::NextRequest { .. } => {
                state.awaited = Awaited::Header { since: Instant::now(), has_started: true };
            }
            Awaited::Header { has_started, .. } => *has_started = true,
            Awaited::UnreadBody(discard) => {
                discard.newest = Instant::now();
                discard.bytes += count as u64;
            }
            Awaited::Nothing => {}
        }
    }

    pub(super) fn blocked(&self) {
        self.state.lock().blocked_since.get_or_insert_with(Instant::now);
    }

    pub(super) fn flushed(&self) {
        self.state.lock().blocked_since = None;
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.state.lock().blocked_since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        most: 1,
        header_timeout: Duration::from_secs(1),
        keep_alive: Duration::from_secs(2),
        answer_timeout: Duration::from_secs(3),
        body_timeout: Duration::from_secs(60),
    };

    fn due(timeouts: &Timeouts) -> Option<Overdue> {
        timeouts.deadline().map(|(_, what)| what)
    }

    #[test]
    fn each_stage_of_a_request_has_its_own_deadline() {
        let timeouts = Timeouts::new(LIMITS);
        assert_eq!(due(&timeouts), Some(Overdue::Header), "a silent connection is overdue");
        timeouts.header_received();
        assert_eq!(due(&timeouts), None);
        timeouts.received(1);
        assert_eq!(due(&timeouts), None, "the route has the timeout of a body");
        timeouts.blocked();
        assert_eq!(due(&timeouts), Some(Overdue::Answer));
        timeouts.answered();
        timeouts.flushed();
        assert_eq!(due(&timeouts), Some(Overdue::NextRequest));
        timeouts.received(1);
        assert_eq!(due(&timeouts), Some(Overdue::Header));
    }

    #[test]
    fn a_response_that_is_streamed_is_waited_for_and_must_be_read() {
        let timeouts = Timeouts::new(LIMITS);
        timeouts.header_received();
        timeouts.start_streaming();
        timeouts.answered();
        assert_eq!(due(&timeouts), None, "the client is not idle");
        timeouts.blocked();
        assert_eq!(due(&timeouts), Some(Overdue::Answer));
        timeouts.flushed();
        assert_eq!(due(&timeouts), None);
        let before = Instant::now();
        timeouts.end_streaming();
        let (deadline, what) = timeouts.deadline().unwrap();
        assert_eq!(what, Overdue::NextRequest);
        assert!(deadline >= before + LIMITS.keep_alive, "it counts from the end");
    }

    #[test]
    fn neither_more_bytes_of_a_header_nor_a_partial_write_extend_the_deadline() {
        let timeouts = Timeouts::new(LIMITS);
        let header = timeouts.deadline();
        timeouts.received(1);
        assert_eq!(timeouts.deadline(), header);
        timeouts.blocked();
        let answer = timeouts.deadline();
        timeouts.blocked();
        assert_eq!(timeouts.deadline(), answer);
    }

    #[test]
    fn an_unread_body_has_the_timeout_of_an_upload_and_an_idle_timeout() {
        let timeouts = Timeouts::new(LIMITS);
        timeouts.header_received();
        timeouts.answered_early();
        let (deadline, what) = timeouts.deadline().unwrap();
        assert_eq!(what, Overdue::SilentBody);
        timeouts.received(1);
        assert!(timeouts.deadline().unwrap().0 > deadline, "each byte restarts the idle timeout");
        timeouts.received(usize::try_from(MAX_DISCARDED_BYTES).unwrap());
        let (deadline, what) = timeouts.deadline().unwrap();
        assert!(
            what == Overdue::UnreadBody && deadline <= Instant::now(),
            "beyond the maximum nothing more is read"
        );

        let slow =
            Timeouts::new(ConnectionLimits { body_timeout: Duration::from_secs(1), ..LIMITS });
        slow.header_received();
        slow.answered_early();
        let (deadline, what) = slow.deadline().unwrap();
        assert_eq!(what, Overdue::UnreadBody);
        assert!(
            deadline > Instant::now() + Duration::from_secs(2),
            "a late response is readable as well"
        );
        slow.received(1);
        assert_eq!(slow.deadline().unwrap().0, deadline, "more bytes do not extend the deadline");
    }

    #[test]
    fn a_shutdown_shortens_discarding() {
        let timeouts = Timeouts::new(LIMITS);
        timeouts.header_received();
        timeouts.answered_early();
        timeouts.begin_shutdown();
        let (deadline, what) = timeouts.deadline().unwrap();
        assert_eq!(what, Overdue::UnreadBody);
        assert!(deadline <= Instant::now() + MIN_DISCARD_TIME);
    }

    #[test]
    fn a_request_that_arrives_with_the_end_of_an_unread_body_is_not_idle() {
        let timeouts = Timeouts::new(LIMITS);
        timeouts.header_received();
        timeouts.answered_early();
        timeouts.header_received();
        timeouts.body_discarded();
        assert_eq!(due(&timeouts), None);
        timeouts.answered_early();
        timeouts.body_discarded();
        assert_eq!(due(&timeouts), Some(Overdue::NextRequest));
    }

    #[test]
    fn a_closing_server_waits_only_for_clients_that_may_be_sending() {
        let timeouts = Timeouts::new(LIMITS);
        assert!(!timeouts.start_closing(), "nothing has arrived");
        timeouts.received(1);
        assert!(timeouts.start_closing(), "an incomplete header has arrived");
        assert_eq!(due(&timeouts), Some(Overdue::SilentBody));
        timeouts.header_received();
        assert!(!timeouts.start_closing(), "the request is being answered");
        timeouts.answered();
        assert!(!timeouts.start_closing(), "the request was read completely");
        timeouts.answered_early();
        assert!(timeouts.start_closing());
    }
}
