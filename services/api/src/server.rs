//! The listener: takes connections, bounds what each may hold, and ends them when told to stop.
//!
//! poem's own server bounds neither how long a header may take to come nor how long an answer may
//! take to go, and has no limit on connections; so its endpoint is served through hyper here. HTTP/1.1
//! only: HTTP/2's ways of making a server work for nothing are the business of the proxy in front.

mod body;
mod connection;
mod pace;
mod refusals;
mod stream;

use std::{io, sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};
use poem::{
    Addr, Endpoint, Response,
    web::{LocalAddr, RemoteAddr},
};
use service::lifecycle::open_files;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use connection::converse;
use refusals::{MOST_REFUSALS, Refusals};

/// The most bytes of a request's first line and headers together; beyond it 431.
pub(crate) const MAX_HEADER_BYTES: usize = 16 * 1024;
/// The most bytes read ahead of whoever takes them, or kept for a client that is slow to read.
const MAX_BUFFER_BYTES: usize = 128 * 1024;
/// Files that are no clients' connections: those to NATS and Redis, the listener, the log.
const OTHER_FILES: usize = 64;
/// How long nothing is accepted after the kernel has refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Why connections are ended, as the metric says it.
const REFUSED: &str = "refused";
const SLOW_HEADER: &str = "slow_header";
const SLOW_ANSWER: &str = "slow_answer";
const UNREAD_BODY: &str = "unread_body";
/// What connections may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// `MAX_CONNECTIONS`: connections at one time. Default 4096, or fewer where the process may not
    /// open so many files.
    pub most: usize,
    /// `HEADER_TIMEOUT_SECONDS`: from a connection's beginning, or a later request's first byte, to the
    /// end of its header. Default 10.
    pub header_timeout: Duration,
    /// `KEEP_ALIVE_SECONDS`: how long a connection may wait for its next request. Default 75, which is
    /// longer than proxies keep theirs.
    pub keep_alive: Duration,
    /// `ANSWER_TIMEOUT_SECONDS`: how long a client may take to accept what is written to it. Default 60.
    pub answer_timeout: Duration,
    /// `UPLOAD_TIMEOUT_SECONDS`: how long the rest of a request that was answered before it had come is read
    /// and discarded, from the request's header on. Default 60.
    pub body_timeout: Duration,
}

/// A listener and what its connections may take.
pub(crate) struct HttpServer {
    pub(crate) listener: TcpListener,
    pub(crate) limits: ConnectionLimits,
    /// How long requests may finish once the server was told to stop.
    pub(crate) grace: Duration,
    pub(crate) meter: Meter,
}

/// What all connections of a server share.
struct Shared<E> {
    endpoint: E,
    limits: ConnectionLimits,
    address: LocalAddr,
    /// The server takes no more connections, and each ends with the request it is at.
    draining: CancellationToken,
    /// The grace is over.
    abandoned: CancellationToken,
    cut: Counter<u64>,
}

impl HttpServer {
    /// Answers by `endpoint` until `shutdown`, and then for as long as open requests take, but no longer
    /// than the grace.
    ///
    /// # Errors
    /// If the listener has no address.
    pub(crate) async fn run<E>(self, endpoint: E, shutdown: CancellationToken) -> io::Result<()>
    where
        E: Endpoint<Output = Response> + 'static,
    {
        let Self { listener, limits, grace, meter } = self;
        let connections = TaskTracker::new();
        let open = connections.clone();
        meter
            .u64_observable_gauge("spotter_http_connections")
            .with_description("Connections of clients that are open.")
            .with_callback(move |gauge| gauge.observe(open.len() as u64, &[]))
            .build();
        let shared = Arc::new(Shared {
            endpoint,
            limits,
            address: LocalAddr(Addr::SocketAddr(listener.local_addr()?)),
            draining: shutdown.clone(),
            abandoned: CancellationToken::new(),
            cut: meter
                .u64_counter("spotter_http_connections_cut")
                .with_description("Connections that this server ended on its clients, by reason.")
                .build(),
        });
        // From the start, so that the first one is seen to be one.
        for reason in [REFUSED, SLOW_HEADER, SLOW_ANSWER, UNREAD_BODY] {
            shared.cut.add(0, &[KeyValue::new("reason", reason)]);
        }
        let refusals = Refusals::new(shared.abandoned.clone());
        let most = affordable(limits.most);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) if connections.len() >= most => {
                    shared.count_cut(REFUSED);
                    refusals.refuse(stream);
                }
                Ok((stream, peer)) => {
                    let remote = RemoteAddr(Addr::SocketAddr(peer));
                    connections.spawn(converse(stream, remote, Arc::clone(&shared)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    // Out of files or memory, most likely: to try again at once would burn a core.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        connections.close();
        let all_ended = async { tokio::join!(connections.wait(), refusals.end()) };
        if tokio::time::timeout(grace, all_ended).await.is_err() {
            let left = connections.len();
            tracing::warn!(connections = left, ?grace, "the grace is over: requests are cut off");
            shared.abandoned.cancel();
            tokio::join!(connections.wait(), refusals.end());
        }
        Ok(())
    }
}

impl<E> Shared<E> {
    fn count_cut(&self, reason: &'static str) {
        self.cut.add(1, &[KeyValue::new("reason", reason)]);
    }
}

/// As many connections as were asked for, or as this process may open.
fn affordable(wanted: usize) -> usize {
    let files = open_files::raise_limit();
    let possible = files.saturating_sub(OTHER_FILES + MOST_REFUSALS).max(1);
    if possible < wanted {
        tracing::warn!(
            files,
            connections = possible,
            "MAX_CONNECTIONS is {wanted}, but this process may not open so many files"
        );
    }
    wanted.min(possible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_connections_than_files() {
        assert_eq!(affordable(3), 3);
        assert!(affordable(usize::MAX) <= open_files::raise_limit());
    }
}
