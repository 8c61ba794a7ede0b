//! The listener: takes connections, bounds what each may hold, and ends them when told to stop.
//!
//! poem's own server bounds neither how long a header may take to come nor how long an answer may
//! take to go, and has no limit on connections; so its endpoint is served through hyper here. HTTP/1.1
//! only: HTTP/2's ways of making a server work for nothing are the business of the proxy in front.

mod pace;

use std::{
    convert::Infallible,
    future::poll_fn,
    io::{self, Read, Write},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};
use poem::{
    Addr, Endpoint, Response,
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use runtime::open_files;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use pace::{Overdue, Pace, PacedStream};

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
/// What a client is told for whom there is no room.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
    retry-after: 5\r\nconnection: close\r\ncontent-length: 52\r\n\r\n\
    {\"error\":\"too many connections, try again shortly\"}\n";

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
        for reason in [REFUSED, SLOW_HEADER, SLOW_ANSWER] {
            shared.cut.add(0, &[KeyValue::new("reason", reason)]);
        }
        let most = affordable(limits.most);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) if connections.len() >= most => {
                    shared.count_cut(REFUSED);
                    refuse(stream);
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
        if tokio::time::timeout(grace, connections.wait()).await.is_err() {
            let left = connections.len();
            tracing::warn!(connections = left, ?grace, "the grace is over: requests are cut off");
            shared.abandoned.cancel();
            connections.wait().await;
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
    let possible = files.saturating_sub(OTHER_FILES).max(1);
    if possible < wanted {
        tracing::warn!(
            files,
            connections = possible,
            "MAX_CONNECTIONS is {wanted}, but this process may not open so many files"
        );
    }
    wanted.min(possible)
}

/// Tells a client that there is no room, without waiting for it, and hangs up.
fn refuse(stream: TcpStream) {
    // Taken from the runtime, which would have to be asked first whether it can be written to.
    let Ok(mut stream) = stream.into_std() else { return };
    let _ = stream.write(REFUSAL);
    // A connection that is closed with something unread is reset, and its client may not see the answer.
    let _ = stream.read(&mut [0; 4096]);
}

/// Serves one connection until either side ends it.
async fn converse<E>(stream: TcpStream, remote: RemoteAddr, shared: Arc<Shared<E>>)
where
    E: Endpoint<Output = Response> + 'static,
{
    // Answers are written whole: to hold back their last piece would gain nothing.
    let _ = stream.set_nodelay(true);
    let pace = Pace::new(shared.limits);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (remote, shared, pace) = (remote.clone(), Arc::clone(&shared), pace.clone());
        async move {
            pace.header_came();
            let request = (request, shared.address.clone(), remote, Scheme::HTTP).into();
            let answer: hyper::Response<_> = shared.endpoint.get_response(request).await.into();
            pace.answered();
            Ok::<_, Infallible>(answer)
        }
    });
    let io = TokioIo::new(PacedStream::new(stream, pace.clone()));
    let mut connection = pin!(builder().serve_connection(io, service));
    let mut timer = pin!(tokio::time::sleep(shared.limits.header_timeout));
    let mut is_draining = false;
    loop {
        // The deadline is looked at whenever something has happened on the connection.
        let end = poll_fn(|context| {
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            let Some((deadline, what)) = pace.deadline() else { return Poll::Pending };
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            timer.as_mut().poll(context).map(|()| Some(what))
        });
        tokio::select! {
            end = end => {
                if let Some(what) = end {
                    report(what, &remote, &shared);
                }
                return;
            }
            () = shared.draining.cancelled(), if !is_draining => {
                connection.as_mut().graceful_shutdown();
                is_draining = true;
            }
            () = shared.abandoned.cancelled() => return,
        }
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_header_size(MAX_HEADER_BYTES).max_buf_size(MAX_BUFFER_BYTES);
    // Its clock runs between requests as well, which is a time of another length: see `pace`.
    builder.header_read_timeout(None);
    builder
}

fn report<E>(what: Overdue, remote: &RemoteAddr, shared: &Shared<E>) {
    let reason = match what {
        // Nothing was wrong with it.
        Overdue::NextRequest => return,
        Overdue::Header => SLOW_HEADER,
        Overdue::Answer => SLOW_ANSWER,
    };
    tracing::debug!(%remote, reason, "a connection is cut off");
    shared.count_cut(reason);
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

    #[test]
    fn no_more_connections_than_files() {
        assert_eq!(affordable(3), 3);
        assert!(affordable(usize::MAX) <= open_files::raise_limit());
    }
}
