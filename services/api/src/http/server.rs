//! The listener: takes connections, bounds what each may hold, and ends them when told to stop.
//!
//! poem's own server bounds neither how long a header may take to come nor how long an answer may
//! take to go, and has no limit on connections; so its endpoint is served through hyper here. HTTP/1.1
//! only: HTTP/2's ways of making a server work for nothing are the business of the proxy in front.

use std::{io, sync::Arc, time::Duration};

use opentelemetry::metrics::Meter;
use poem::{
    Addr, Endpoint, Response,
    web::{LocalAddr, RemoteAddr},
};
use service::lifecycle::open_files;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    connection::{REFUSED, Shared, serve_connection},
    limits::ConnectionLimits,
    overload::{MOST_REFUSALS, Refusals},
};

/// Files that are no clients' connections: those to NATS and Redis, the listener, the log.
const OTHER_FILES: usize = 64;
/// How long nothing is accepted after the kernel has refused to.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener and what its connections may take.
pub(crate) struct HttpServer {
    pub(crate) listener: TcpListener,
    pub(crate) limits: ConnectionLimits,
    /// How long requests may finish once the server was told to stop.
    pub(crate) grace: Duration,
    pub(crate) meter: Meter,
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
        let address = LocalAddr(Addr::SocketAddr(listener.local_addr()?));
        let shared = Arc::new(Shared::new(endpoint, limits, address, shutdown.clone(), &meter));
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
                    connections.spawn(serve_connection(stream, remote, Arc::clone(&shared)));
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
