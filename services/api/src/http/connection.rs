//! One connection, from its first byte until either side closes it.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};
use poem::{
    Endpoint, Request, Response,
    http::{HeaderValue, header, uri::Scheme},
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    limits::ConnectionLimits,
    request_body::{DiscardedBody, SharedBody, Unread},
    stream::{CHUNK_BYTES, TimedStream},
    streamed_body,
    timeouts::{MAX_DISCARDED_BYTES, Overdue, Timeouts},
};

/// Maximum size of the request line and headers, in bytes; beyond it 431.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Maximum size of the read buffer and of the write buffer of a connection, in bytes.
const MAX_BUFFER_BYTES: usize = 128 * 1024;
/// Why the server closes connections: values of the metric's label.
pub(super) const REFUSED: &str = "refused";
const SLOW_HEADER: &str = "slow_header";
const SLOW_ANSWER: &str = "slow_answer";
const UNREAD_BODY: &str = "unread_body";

/// The state that all connections of a server share.
pub(super) struct Shared<E> {
    endpoint: E,
    limits: ConnectionLimits,
    address: LocalAddr,
    /// Cancelled at shutdown: each connection closes after its current request.
    draining: CancellationToken,
    /// Cancelled when the shutdown grace period is over.
    pub(super) abandoned: CancellationToken,
    cut: Counter<u64>,
}

impl<E> Shared<E> {
    /// `draining` is cancelled when the server shuts down.
    pub(super) fn new(
        endpoint: E,
        limits: ConnectionLimits,
        address: LocalAddr,
        draining: CancellationToken,
        meter: &Meter,
    ) -> Self {
        let cut = meter
            .u64_counter("spotter_http_connections_cut")
            .with_description("Connections that the server closed, by reason.")
            .build();
        // Series start at 0, so that an increase to 1 is visible.
        for reason in [REFUSED, SLOW_HEADER, SLOW_ANSWER, UNREAD_BODY] {
            cut.add(0, &[KeyValue::new("reason", reason)]);
        }
        let abandoned = CancellationToken::new();
        Self { endpoint, limits, address, draining, abandoned, cut }
    }

    pub(super) fn count_cut(&self, reason: &'static str) {
        self.cut.add(1, &[KeyValue::new("reason", reason)]);
    }
}

/// Serves one connection until either side closes it.
pub(super) async fn serve_connection<E>(
    stream: TcpStream,
    remote: RemoteAddr,
    shared: Arc<Shared<E>>,
) where
    E: Endpoint<Output = Response> + 'static,
{
    // Responses are written whole, so delaying the last segment gains nothing.
    let _ = stream.set_nodelay(true);
    let timeouts = Timeouts::new(shared.limits);
    let discarded = DiscardedBody::default();
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (remote, shared) = (remote.clone(), Arc::clone(&shared));
        let (timeouts, discarded) = (timeouts.clone(), discarded.clone());
        async move {
            timeouts.header_received();
            let request = (request, shared.address.clone(), remote, Scheme::HTTP).into();
            let answer = answer(&shared.endpoint, request, &timeouts, &discarded).await;
            Ok::<_, Infallible>(hyper::Response::from(answer))
        }
    });
    let io = TokioIo::new(TimedStream::new(stream, timeouts.clone()));
    let mut connection = builder().serve_connection(io, service);
    let mut timer =
        DeadlineTimer { timeouts: &timeouts, timer: pin!(tokio::time::sleep(Duration::ZERO)) };
    loop {
        let step = poll_fn(|context| {
            if Pin::new(&mut connection).poll(context).is_ready() {
                return Poll::Ready(None);
            }
            if discarded.poll_end(context).is_ready() {
                timeouts.body_discarded();
            }
            timer.poll(context).map(Some)
        });
        tokio::select! {
            overdue = step => match overdue {
                None => break,
                Some(what) => return report(what, &remote, &shared),
            },
            () = shared.draining.cancelled(), if !timeouts.is_stopping() => {
                Pin::new(&mut connection).graceful_shutdown();
                timeouts.begin_shutdown();
            }
            () = shared.abandoned.cancelled() => return,
        }
    }
    if timeouts.start_closing() {
        linger(connection.into_parts().io.into_inner(), timer, &remote, &shared).await;
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_header_size(MAX_HEADER_BYTES).max_buf_size(MAX_BUFFER_BYTES);
    // hyper's timer would also run between requests, where another timeout applies: see `timeouts`.
    builder.header_read_timeout(None);
    // A client may close its sending side after its request (`shutdown(SHUT_WR)`) and wait for the response.
    // Until the server writes, it cannot distinguish such a client from one that has closed both sides, so
    // the connection of a disconnected client stays open until its response.
    builder.half_close(true);
    builder
}

/// Answers `request`. The part of its body that is unread by then is discarded.
async fn answer<E>(
    endpoint: &E,
    mut request: Request,
    timeouts: &Timeouts,
    discarded: &DiscardedBody,
) -> Response
where
    E: Endpoint<Output = Response>,
{
    let body = SharedBody::of(&mut request);
    let mut answer = endpoint.get_response(request).await;
    let unread = body.map_or(Unread::Nothing, |body| body.take_unread());
    let keeps_open = match &unread {
        Unread::Nothing => true,
        Unread::Body(body) => max_size(body) <= MAX_DISCARDED_BYTES,
        Unread::Unknown => false,
    };
    if !keeps_open {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    streamed_body::watch(&mut answer, timeouts);
    match unread {
        Unread::Nothing => timeouts.answered(),
        Unread::Body(body) => {
            timeouts.answered_early();
            discarded.begin(body);
        }
        Unread::Unknown => timeouts.answered_early(),
    }
    answer
}

/// The known maximum of the remaining bytes; 0 if it is unknown.
fn max_size(body: &impl hyper::body::Body) -> u64 {
    body.size_hint().upper().unwrap_or_default()
}

/// Closes the connection of a client that may still be sending: first the sending side, and the receiving
/// side once the client has closed its own. The kernel resets a connection that is closed with unread bytes,
/// and the client may lose the response.
async fn linger<E>(
    mut stream: TimedStream,
    mut timer: DeadlineTimer<'_>,
    remote: &RemoteAddr,
    shared: &Shared<E>,
) {
    let timeouts = timer.timeouts;
    let discard = async {
        // hyper has done this already, unless the client requested an upgrade.
        let _ = stream.shutdown().await;
        let mut waste = vec![0; CHUNK_BYTES];
        while matches!(stream.read(&mut waste).await, Ok(read) if read > 0) {}
    };
    let mut discard = pin!(discard);
    loop {
        tokio::select! {
            () = &mut discard => return,
            what = poll_fn(|context| timer.poll(context)) => return match what {
                // The client has sent everything and only keeps its side open.
                Overdue::SilentBody => {}
                what => report(what, remote, shared),
            },
            () = shared.draining.cancelled(), if !timeouts.is_stopping() => timeouts.begin_shutdown(),
            () = shared.abandoned.cancelled() => return,
        }
    }
}

/// Completes when a client's timeout expires.
struct DeadlineTimer<'a> {
    timeouts: &'a Timeouts,
    timer: Pin<&'a mut Sleep>,
}

impl DeadlineTimer<'_> {
    /// To be polled after every event on the connection, which may change the deadline.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Overdue> {
        let Some((deadline, what)) = self.timeouts.deadline() else { return Poll::Pending };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(context).map(|()| what)
    }
}

fn report<E>(what: Overdue, remote: &RemoteAddr, shared: &Shared<E>) {
    let reason = match what {
        // An idle connection is closed without an error.
        Overdue::NextRequest => return,
        Overdue::Header => SLOW_HEADER,
        Overdue::Answer => SLOW_ANSWER,
        Overdue::UnreadBody | Overdue::SilentBody => UNREAD_BODY,
    };
    tracing::debug!(%remote, reason, "closing a connection after a timeout");
    shared.count_cut(reason);
}
