//! The state of the connection, by the client library's events.

use std::time::Duration;

use async_nats::Event;
use tokio::sync::watch;

const FIRST_RECONNECT_DELAY: Duration = Duration::from_millis(20);
const LONGEST_RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// The state of the connection, by the client library's events.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Link {
    /// The number of connections so far: a new one means that the server has dropped our pull requests.
    pub(crate) connects: u64,
    pub(crate) connected: bool,
    pub(super) closed: bool,
}

/// The delay before the `attempt`th attempt to reconnect: none, then doubling up to two seconds, with
/// jitter of a half so that clients do not reconnect to a restarted server at the same moment.
pub(super) fn reconnect_delay(attempt: usize) -> Duration {
    let Some(doublings) = attempt.checked_sub(2) else { return Duration::ZERO };
    let delay = FIRST_RECONNECT_DELAY.saturating_mul(1 << doublings.min(10));
    delay.min(LONGEST_RECONNECT_DELAY).mul_f64(rand::random_range(0.5..1.0))
}

/// Updates `link` by an event, and logs a lost connection once: the library reports every failed attempt
/// to reconnect, many in a second.
pub(super) fn note(event: &Event, link: &watch::Sender<Link>) {
    let before = *link.borrow();
    match event {
        Event::Connected => {
            if before.connects > 0 && !before.connected {
                tracing::info!("NATS: the connection is back");
            } else {
                tracing::debug!("NATS: {event}");
            }
            link.send_modify(|link| {
                link.connects += 1;
                link.connected = true;
            });
        }
        Event::Closed => {
            tracing::debug!("NATS: {event}");
            link.send_modify(|link| {
                link.connected = false;
                link.closed = true;
            });
        }
        Event::Disconnected => {
            if before.connected {
                tracing::warn!("NATS: the connection is lost; reconnecting");
            }
            link.send_modify(|link| link.connected = false);
        }
        Event::Draining => tracing::debug!("NATS: {event}"),
        Event::ClientError(error) if !before.connected => {
            tracing::debug!(%error, "NATS: still no connection");
        }
        other => tracing::warn!("NATS: {other}"),
    }
}
