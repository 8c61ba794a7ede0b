//! How long a client may keep its connection waiting.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::limits::ConnectionLimits;

/// The most bytes of a request that are read and discarded after its answer. 1 GiB, fifty times the default
/// limit of a picture, lets a client that uploads a video by mistake see its 413. Discarding costs no memory,
/// and less CPU time a byte than an upload that is accepted, so time is the limit that matters.
pub(super) const MAX_DISCARDED_BYTES: u64 = 1 << 30;
/// How long the server waits for the next byte of such a rest: the value of nginx's `lingering_timeout`.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);
/// How long the rest of a request is discarded, at the least after a late answer such as a 408, and at the
/// most after the server was told to stop.
const LEAST_DISCARD_TIME: Duration = Duration::from_secs(3);

/// What a client was too slow with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The header of a request.
    Header,
    /// A request after an answer.
    NextRequest,
    /// Reading its answer.
    Answer,
    /// The rest of a request that has been answered: it is too long or takes too long.
    Rest,
    /// The rest of a request that has been answered: no byte of it for [`LONGEST_SILENCE`].
    SilentRest,
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
    /// When the newest request's header was complete.
    request_since: Instant,
    /// When the server was told to stop.
    stopped_at: Option<Instant>,
}

#[derive(Debug)]
enum Awaited {
    /// The end of a header, of which some bytes may have come.
    Header { since: Instant, has_begun: bool },
    /// A request is being answered. How long its body may take is the route's to say.
    Nothing,
    /// The first byte of the next request.
    NextRequest { since: Instant },
    /// The rest of a request that has been answered, until the client has sent it or hangs up.
    Rest(Rest),
}

/// What has come of the rest of a request.
#[derive(Debug, Clone, Copy)]
struct Rest {
    /// When the request was answered.
    since: Instant,
    /// When its newest byte came.
    newest: Instant,
    bytes: u64,
}

impl Rest {
    fn beginning_now() -> Self {
        let now = Instant::now();
        Self { since: now, newest: now, bytes: 0 }
    }
}

impl Pace {
    /// Of a connection that begins now: its first request is due.
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        let now = Instant::now();
        let state = State {
            awaited: Awaited::Header { since: now, has_begun: false },
            blocked_since: None,
            request_since: now,
            stopped_at: None,
        };
        Self { limits, state: Arc::new(Mutex::new(state)) }
    }

    /// A request's header is complete.
    pub(super) fn header_came(&self) {
        let mut state = self.state.lock();
        state.awaited = Awaited::Nothing;
        state.request_since = Instant::now();
    }

    /// The answer is made, and its sending begins.
    pub(super) fn answered(&self) {
        self.state.lock().awaited = Awaited::NextRequest { since: Instant::now() };
    }

    /// The same, and the client has more to send of the request that it answers.
    pub(super) fn answered_early(&self) {
        self.state.lock().awaited = Awaited::Rest(Rest::beginning_now());
    }

    /// The rest of an answered request has come.
    pub(super) fn rest_came(&self) {
        let mut state = self.state.lock();
        // Unless the next request has come along with it.
        if matches!(state.awaited, Awaited::Rest(_)) {
            state.awaited = Awaited::NextRequest { since: Instant::now() };
        }
    }

    /// The server closes the connection. Returns whether the client may still be sending.
    pub(super) fn hangs_up(&self) -> bool {
        let mut state = self.state.lock();
        match state.awaited {
            Awaited::Rest(_) => true,
            // The parser has refused the header, or the client closed its side within it.
            Awaited::Header { has_begun: true, .. } => {
                state.awaited = Awaited::Rest(Rest::beginning_now());
                state.request_since = Instant::now();
                true
            }
            Awaited::Header { .. } | Awaited::Nothing | Awaited::NextRequest { .. } => false,
        }
    }

    /// The server is to stop, and waits no more than [`LEAST_DISCARD_TIME`] for what it discards.
    pub(super) fn stop(&self) {
        self.state.lock().stopped_at.get_or_insert_with(Instant::now);
    }

    /// Whether the server is to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.state.lock().stopped_at.is_some()
    }

    /// Until when the client has to do something, and what.
    pub(super) fn deadline(&self) -> Option<(Instant, Overdue)> {
        let ConnectionLimits { header_timeout, keep_alive, answer_timeout, .. } = self.limits;
        let state = self.state.lock();
        let to_read = state.blocked_since.map(|since| (since + answer_timeout, Overdue::Answer));
        let to_send = match state.awaited {
            Awaited::Rest(rest) => Some(self.end_of_rest(&state, rest)),
            _ if to_read.is_some() => None,
            Awaited::Header { since, .. } => Some((since + header_timeout, Overdue::Header)),
            Awaited::NextRequest { since } => Some((since + keep_alive, Overdue::NextRequest)),
            Awaited::Nothing => None,
        };
        to_read.into_iter().chain(to_send).min_by_key(|(deadline, _)| *deadline)
    }

    /// A refused request may take as long to arrive as an accepted one.
    fn end_of_rest(&self, state: &State, rest: Rest) -> (Instant, Overdue) {
        if rest.bytes > MAX_DISCARDED_BYTES {
            return (rest.newest, Overdue::Rest);
        }
        let until = state.request_since + self.limits.body_timeout;
        let mut until = until.max(rest.since + LEAST_DISCARD_TIME);
        if let Some(stopped_at) = state.stopped_at {
            until = until.min(stopped_at.max(rest.since) + LEAST_DISCARD_TIME);
        }
        let silence = rest.newest + LONGEST_SILENCE;
        if silence < until { (silence, Overdue::SilentRest) } else { (until, Overdue::Rest) }
    }

    pub(super) fn is_discarding(&self) -> bool {
        matches!(self.state.lock().awaited, Awaited::Rest(_))
    }

    pub(super) fn received(&self, count: usize) {
        if count == 0 {
            return;
        }
        let mut state = self.state.lock();
        match &mut state.awaited {
            Awaited::NextRequest { .. } => {
                state.awaited = Awaited::Header { since: Instant::now(), has_begun: true };
            }
            Awaited::Header { has_begun, .. } => *has_begun = true,
            Awaited::Rest(rest) => {
                rest.newest = Instant::now();
                rest.bytes += count as u64;
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

    fn due(pace: &Pace) -> Option<Overdue> {
        pace.deadline().map(|(_, what)| what)
    }

    #[test]
    fn each_stage_of_a_request_has_its_own_deadline() {
        let pace = Pace::new(LIMITS);
        assert_eq!(due(&pace), Some(Overdue::Header), "a connection that says nothing is overdue");
        pace.header_came();
        assert_eq!(due(&pace), None);
        pace.received(1);
        assert_eq!(due(&pace), None, "a body is the route's business");
        pace.blocked();
        assert_eq!(due(&pace), Some(Overdue::Answer));
        pace.answered();
        pace.flushed();
        assert_eq!(due(&pace), Some(Overdue::NextRequest));
        pace.received(1);
        assert_eq!(due(&pace), Some(Overdue::Header));
    }

    #[test]
    fn neither_more_bytes_of_a_header_nor_a_little_read_give_more_time() {
        let pace = Pace::new(LIMITS);
        let header = pace.deadline();
        pace.received(1);
        assert_eq!(pace.deadline(), header);
        pace.blocked();
        let answer = pace.deadline();
        pace.blocked();
        assert_eq!(pace.deadline(), answer);
    }

    #[test]
    fn the_rest_of_a_request_comes_within_the_time_of_an_upload_and_without_long_silence() {
        let pace = Pace::new(LIMITS);
        pace.header_came();
        pace.answered_early();
        let (deadline, what) = pace.deadline().unwrap();
        assert_eq!(what, Overdue::SilentRest);
        pace.received(1);
        assert!(pace.deadline().unwrap().0 > deadline, "each byte ends a silence");
        pace.received(usize::try_from(MAX_DISCARDED_BYTES).unwrap());
        let (deadline, what) = pace.deadline().unwrap();
        assert!(what == Overdue::Rest && deadline <= Instant::now(), "so much is never read");

        let slow = Pace::new(ConnectionLimits { body_timeout: Duration::from_secs(1), ..LIMITS });
        slow.header_came();
        slow.answered_early();
        let (deadline, what) = slow.deadline().unwrap();
        assert_eq!(what, Overdue::Rest);
        assert!(
            deadline > Instant::now() + Duration::from_secs(2),
            "a late answer is seen as well"
        );
        slow.received(1);
        assert_eq!(slow.deadline().unwrap().0, deadline, "more bytes give no more time");
    }

    #[test]
    fn a_stop_shortens_what_is_only_discarded() {
        let pace = Pace::new(LIMITS);
        pace.header_came();
        pace.answered_early();
        pace.stop();
        let (deadline, what) = pace.deadline().unwrap();
        assert_eq!(what, Overdue::Rest);
        assert!(deadline <= Instant::now() + LEAST_DISCARD_TIME);
    }

    #[test]
    fn a_request_that_came_with_the_rest_of_another_is_not_taken_for_an_idle_connection() {
        let pace = Pace::new(LIMITS);
        pace.header_came();
        pace.answered_early();
        pace.header_came();
        pace.rest_came();
        assert_eq!(due(&pace), None);
        pace.answered_early();
        pace.rest_came();
        assert_eq!(due(&pace), Some(Overdue::NextRequest));
    }

    #[test]
    fn a_server_that_hangs_up_waits_only_for_clients_that_may_be_sending() {
        let pace = Pace::new(LIMITS);
        assert!(!pace.hangs_up(), "nothing has come");
        pace.received(1);
        assert!(pace.hangs_up(), "what has come was no header");
        assert_eq!(due(&pace), Some(Overdue::SilentRest));
        pace.header_came();
        assert!(!pace.hangs_up(), "nobody answers any more");
        pace.answered();
        assert!(!pace.hangs_up(), "all has come");
        pace.answered_early();
        assert!(pace.hangs_up());
    }
}
