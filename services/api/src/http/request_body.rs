//! The body of a request: the route reads it, the connection owns it.
//!
//! A route that answers before it has read the body drops its handle. If that were the body itself, hyper
//! would close the connection while the client is still sending, and the client would lose the response.

use std::{
    io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use poem::{
    Request,
    http::{Version, header},
};

type AnyBody = BoxBody<Bytes, io::Error>;

/// A request's body that route and connection share. Cheap to clone; all clones are the same body.
#[derive(Clone)]
pub(super) struct SharedBody(Arc<Mutex<BodyState>>);

enum BodyState {
    /// The client waits for `100 Continue` before it sends the body, and hyper has not sent that yet.
    Withheld(AnyBody),
    /// The body is arriving, or has arrived.
    Arriving(AnyBody),
    /// The body has failed, or the request has been answered.
    Gone,
}

/// The part of a body that is unread when its request is answered.
pub(super) enum Unread {
    /// Nothing is unread.
    Nothing,
    /// The rest of the body, to be read and discarded.
    Body(AnyBody),
    /// The server did not request the body, but the client may send it all the same, or the framing is
    /// broken. The server cannot tell where the body ends.
    Unknown,
}

impl SharedBody {
    /// Takes the body of `request`, if it has one, and leaves a shared one in its place.
    pub(super) fn of(request: &mut Request) -> Option<Self> {
        let is_withheld = expects_continue(request);
        let body: AnyBody = request.take_body().into();
        if body.is_end_stream() {
            return None;
        }
        let state = if is_withheld { BodyState::Withheld(body) } else { BodyState::Arriving(body) };
        let this = Self(Arc::new(Mutex::new(state)));
        request.set_body(AnyBody::new(this.clone()));
        Some(this)
    }

    /// Takes the body away from the route, which has answered.
    pub(super) fn take_unread(&self) -> Unread {
        match mem::replace(&mut *self.0.lock(), BodyState::Gone) {
            BodyState::Arriving(body) if body.is_end_stream() => Unread::Nothing,
            BodyState::Arriving(body) => Unread::Body(body),
            // Reading a withheld body would make hyper send `100 Continue`.
            BodyState::Withheld(_) | BodyState::Gone => Unread::Unknown,
        }
    }
}

impl Body for SharedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut state = self.0.lock();
        if let BodyState::Withheld(body) = &mut *state {
            *state = BodyState::Arriving(mem::take(body));
        }
        let BodyState::Arriving(body) = &mut *state else {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        };
        let polled = Pin::new(body).poll_frame(context);
        match polled {
            Poll::Ready(Some(Err(_))) => *state = BodyState::Gone,
            Poll::Ready(None) => *state = BodyState::Arriving(AnyBody::default()),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &*self.0.lock() {
            BodyState::Withheld(body) | BodyState::Arriving(body) => body.is_end_stream(),
            BodyState::Gone => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.0.lock() {
            BodyState::Withheld(body) | BodyState::Arriving(body) => body.size_hint(),
            BodyState::Gone => SizeHint::default(),
        }
    }
}

/// Whether the client waits for `100 Continue`, by the same rule as hyper's.
fn expects_continue(request: &Request) -> bool {
    let expect = request.headers().get(header::EXPECT);
    request.version() > Version::HTTP_10
        && expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The body that a connection is discarding, if any. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub(super) struct DiscardedBody(Arc<Mutex<Option<AnyBody>>>);

impl DiscardedBody {
    /// Starts to discard `body`.
    pub(super) fn begin(&self, body: AnyBody) {
        *self.0.lock() = Some(body);
    }

    /// Discards what has arrived. Ready once, at the end of the body; pending while there is no body.
    pub(super) fn poll_end(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut discarded = self.0.lock();
        while let Some(body) = &mut *discarded {
            // Asked before each frame: once the response is written, hyper does not report the end of a body of
            // known size until the next request arrives.
            let frame = if body.is_end_stream() {
                Poll::Ready(None)
            } else {
                Pin::new(body).poll_frame(context)
            };
            match frame {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(None) => {
                    *discarded = None;
                    return Poll::Ready(());
                }
                // hyper closes the connection.
                Poll::Ready(Some(Err(_))) => *discarded = None,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Pending
    }
}
