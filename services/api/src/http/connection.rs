//! One connection, from its first byte until either side ends it.

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
    request_body::{Discarded, KeptBody, Rest},
    stream::{PIECE_BYTES, PacedStream},
    timeouts::{MAX_DISCARDED_BYTES, Overdue, Pace},
};

/// The most bytes of a request's first line and headers together; beyond it 431.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// The most bytes read ahead of whoever takes them, or kept for a client that is slow to read.
const MAX_BUFFER_BYTES: usize = 128 * 1024;
/// Why connections are ended, as the metric says it.
pub(super) const REFUSED: &str = "refused";
const SLOW_HEADER: &str = "slow_header";
const SLOW_ANSWER: &str = "slow_answer";
const UNREAD_BODY: &str = "unread_body";

/// What all connections of a server share.
pub(super) struct Shared<E> {
    endpoint: E,
    limits: ConnectionLimits,
    address: LocalAddr,
    /// The server takes no more connections, and each ends with the request it is at.
    draining: CancellationToken,
    /// The grace is over.
    pub(super) abandoned: CancellationToken,
    cut: Counter<u64>,
}

impl<E> Shared<E> {
    /// `draining` is the server's shutdown.
    pub(super) fn new(
        endpoint: E,
        limits: ConnectionLimits,
        address: LocalAddr,
        draining: CancellationToken,
        meter: &Meter,
    ) -> Self {
        let cut = meter
            .u64_counter("spotter_http_connections_cut")
            .with_description("Connections that this server ended on its clients, by reason.")
            .build();
        // From the start, so that the first one is seen to be one.
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

/// Serves one connection until either side ends it.
pub(super) async fn serve_connection<E>(
    stream: TcpStream,
    remote: RemoteAddr,
    shared: Arc<Shared<E>>,
) where
    E: Endpoint<Output = Response> + 'static,
{
    // Answers are written whole: to hold back their last piece would gain nothing.
    let _ = stream.set_nodelay(true);
    let pace = Pace::new(shared.limits);
    let discarded = Discarded::default();
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (remote, shared) = (remote.clone(), Arc::clone(&shared));
        let (pace, discarded) = (pace.clone(), discarded.clone());
        async move {
            pace.header_came();
            let request = (request, shared.address.clone(), remote, Scheme::HTTP).into();
            let answer = answer(&shared.endpoint, request, &pace, &discarded).await;
            Ok::<_, Infallible>(hyper::Response::from(answer))
        }
    });
    let io = TokioIo::new(PacedStream::new(stream, pace.clone()));
    let mut connection = builder().serve_connection(io, service);
    let mut clock = Clock { pace: &pace, timer: pin!(tokio::time::sleep(Duration::ZERO)) };
    loop {
        let step = poll_fn(|context| {
            if Pin::new(&mut connection).poll(context).is_ready() {
                return Poll::Ready(None);
            }
            if discarded.poll_end(context).is_ready() {
                pace.rest_came();
            }
            clock.poll(context).map(Some)
        });
        tokio::select! {
            overdue = step => match overdue {
                None => break,
                Some(what) => return report(what, &remote, &shared),
            },
            () = shared.draining.cancelled(), if !pace.is_stopping() => {
                Pin::new(&mut connection).graceful_shutdown();
                pace.stop();
            }
            () = shared.abandoned.cancelled() => return,
        }
    }
    if pace.hangs_up() {
        linger(connection.into_parts().io.into_inner(), clock, &remote, &shared).await;
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_header_size(MAX_HEADER_BYTES).max_buf_size(MAX_BUFFER_BYTES);
    // Its clock runs between requests as well, which is a time of another length: see `pace`.
    builder.header_read_timeout(None);
    // A client may close its sending side after its request (`shutdown(SHUT_WR)`) and wait for the answer.
    // The server cannot tell it from one that has closed both sides until it writes, so the connection of a
    // client that has gone stays open until its answer.
    builder.half_close(true);
    builder
}

/// Answers `request`. What the client has not sent of it by then is discarded.
async fn answer<E>(
    endpoint: &E,
    mut request: Request,
    pace: &Pace,
    discarded: &Discarded,
) -> Response
where
    E: Endpoint<Output = Response>,
{
    let body = KeptBody::of(&mut request);
    let mut answer = endpoint.get_response(request).await;
    let rest = body.map_or(Rest::Nothing, |body| body.rest());
    let goes_on = match &rest {
        Rest::Nothing => true,
        Rest::Unread(body) => size_of_rest(body) <= MAX_DISCARDED_BYTES,
        Rest::Unknown => false,
    };
    if !goes_on {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    match rest {
        Rest::Nothing => pace.answered(),
        Rest::Unread(body) => {
            pace.answered_early();
            discarded.begin(body);
        }
        Rest::Unknown => pace.answered_early(),
    }
    answer
}

/// The most that is known to come of it, in bytes; 0 if that is not known.
fn size_of_rest(body: &impl hyper::body::Body) -> u64 {
    body.size_hint().upper().unwrap_or_default()
}

/// Closes the connection of a client that may still be sending: first the sending side, and the other one
/// once the client has closed its own. The kernel resets a connection that is closed with unread bytes, and
/// the client may lose the answer.
async fn linger<E>(
    mut stream: PacedStream,
    mut clock: Clock<'_>,
    remote: &RemoteAddr,
    shared: &Shared<E>,
) {
    let pace = clock.pace;
    let discard = async {
        // hyper has done this already, unless the client offered an upgrade.
        let _ = stream.shutdown().await;
        let mut waste = vec![0; PIECE_BYTES];
        while matches!(stream.read(&mut waste).await, Ok(read) if read > 0) {}
    };
    let mut discard = pin!(discard);
    loop {
        tokio::select! {
            () = &mut discard => return,
            what = poll_fn(|context| clock.poll(context)) => return match what {
                // It has sent everything and only keeps its side open.
                Overdue::SilentRest => {}
                what => report(what, remote, shared),
            },
            () = shared.draining.cancelled(), if !pace.is_stopping() => pace.stop(),
            () = shared.abandoned.cancelled() => return,
        }
    }
}

/// Tells when a client is overdue.
struct Clock<'a> {
    pace: &'a Pace,
    timer: Pin<&'a mut Sleep>,
}

impl Clock<'_> {
    /// To be polled whenever something has happened on the connection: the deadline may be another then.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Overdue> {
        let Some((deadline, what)) = self.pace.deadline() else { return Poll::Pending };
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(context).map(|()| what)
    }
}

fn report<E>(what: Overdue, remote: &RemoteAddr, shared: &Shared<E>) {
    let reason = match what {
        // Nothing was wrong with it.
        Overdue::NextRequest => return,
        Overdue::Header => SLOW_HEADER,
        Overdue::Answer => SLOW_ANSWER,
        Overdue::Rest | Overdue::SilentRest => UNREAD_BODY,
    };
    tracing::debug!(%remote, reason, "a connection is cut off");
    shared.count_cut(reason);
}
