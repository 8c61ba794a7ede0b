//! The listener: accepts connections, limits their number, and drains them at shutdown.
//!
//! poem's own server has no timeout for headers and none for responses, and no limit on connections, so its
//! endpoint is served through hyper here. HTTP/1.1 only: attacks that are specific to HTTP/2 are left to the
//! proxy in front.

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
    overload::{MAX_REJECTIONS, Rejections},
};

/// File descriptors other than clients' connections: NATS, Redis, the listener, the log.
const OTHER_FILES: usize = 64;
/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener and the limits of its connections.
pub(crate) struct HttpServer {
    pub(crate) listener: TcpListener,
    pub(crate) limits: ConnectionLimits,
    /// How long open requests may take after a shutdown has begun.
    pub(crate) grace: Duration,
    pub(crate) meter: Meter,
}

impl HttpServer {
    /// Serves `endpoint` until `shutdown`, and then until open requests have finished, at most for the grace
    /// period.
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
            .with_description("Open connections.")
            .with_callback(move |gauge| gauge.observe(open.len() as u64, &[]))
            .build();
        let address = LocalAddr(Addr::SocketAddr(listener.local_addr()?));
        let shared = Arc::new(Shared::new(endpoint, limits, address, shutdown.clone(), &meter));
        let rejections = Rejections::new(shared.abandoned.clone());
        let most = affordable(limits.most);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) if connections.len() >= most => {
                    shared.count_cut(REFUSED);
                    rejections.reject(stream);
                }
                Ok((stream, peer)) => {
                    let remote = RemoteAddr(Addr::SocketAddr(peer));
                    connections.spawn(serve_connection(stream, remote, Arc::clone(&shared)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Most likely out of file descriptors or memory: an immediate retry would only burn CPU.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        connections.close();
        let all_ended = async { tokio::join!(connections.wait(), rejections.end()) };
        if tokio::time::timeout(grace, all_ended).await.is_err() {
            let left = connections.len();
            tracing::warn!(
                connections = left,
                ?grace,
                "the shutdown grace period is over: aborting open requests"
            );
            shared.abandoned.cancel();
            tokio::join!(connections.wait(), rejections.end());
        }
        Ok(())
    }
}

/// `wanted` connections, or as many as this process may open.
fn affordable(wanted: usize) -> usize {
    let files = open_files::raise_limit();
    let possible = files.saturating_sub(OTHER_FILES + MAX_REJECTIONS).max(1);
    if possible < wanted {
        tracing::warn!(
            files,
            connections = possible,
            "MAX_CONNECTIONS is {wanted}, more than this process may open"
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
