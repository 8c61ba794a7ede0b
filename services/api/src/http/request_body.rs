//! The body of a request: a route reads it, the connection owns it.
//!
//! A route that answers before it has read the body drops what it was given. If that were the body itself,
//! hyper would close the connection while the client is still sending, and the client would lose the answer.

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

/// A request's body that the connection keeps. Cheap to clone; all clones are the same body.
#[derive(Clone)]
pub(super) struct KeptBody(Arc<Mutex<Kept>>);

enum Kept {
    /// The client waits for `100 Continue` before it sends it, and hyper has not sent that yet.
    Withheld(AnyBody),
    /// It is arriving, or has arrived.
    Coming(AnyBody),
    /// It has failed, or the request has been answered.
    Gone,
}

/// What the client has still to send once its request is answered.
pub(super) enum Rest {
    /// Nothing.
    Nothing,
    /// This much of its body, to be read and discarded.
    Unread(AnyBody),
    /// A body that it was not asked for and may send all the same, or one whose framing is broken. The server
    /// cannot tell where it ends.
    Unknown,
}

impl KeptBody {
    /// Keeps the body of `request`, if it has one, and leaves the route one that reads from it.
    pub(super) fn of(request: &mut Request) -> Option<Self> {
        let is_withheld = expects_continue(request);
        let body: AnyBody = request.take_body().into();
        if body.is_end_stream() {
            return None;
        }
        let kept = if is_withheld { Kept::Withheld(body) } else { Kept::Coming(body) };
        let this = Self(Arc::new(Mutex::new(kept)));
        request.set_body(AnyBody::new(this.clone()));
        Some(this)
    }

    /// Takes the body from the route, which has answered.
    pub(super) fn rest(&self) -> Rest {
        match mem::replace(&mut *self.0.lock(), Kept::Gone) {
            Kept::Coming(body) if body.is_end_stream() => Rest::Nothing,
            Kept::Coming(body) => Rest::Unread(body),
            // Reading it would make hyper send `100 Continue`.
            Kept::Withheld(_) | Kept::Gone => Rest::Unknown,
        }
    }
}

impl Body for KeptBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut kept = self.0.lock();
        if let Kept::Withheld(body) = &mut *kept {
            *kept = Kept::Coming(mem::take(body));
        }
        let Kept::Coming(body) = &mut *kept else {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        };
        let polled = Pin::new(body).poll_frame(context);
        match polled {
            Poll::Ready(Some(Err(_))) => *kept = Kept::Gone,
            Poll::Ready(None) => *kept = Kept::Coming(AnyBody::default()),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &*self.0.lock() {
            Kept::Withheld(body) | Kept::Coming(body) => body.is_end_stream(),
            Kept::Gone => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.0.lock() {
            Kept::Withheld(body) | Kept::Coming(body) => body.size_hint(),
            Kept::Gone => SizeHint::default(),
        }
    }
}

/// Whether the client waits for `100 Continue`, as hyper decides it.
fn expects_continue(request: &Request) -> bool {
    let expect = request.headers().get(header::EXPECT);
    request.version() > Version::HTTP_10
        && expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The body that a connection is discarding, if it is. Cheap to clone; all clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Discarded(Arc<Mutex<Option<AnyBody>>>);

impl Discarded {
    /// From now on `body` is discarded.
    pub(super) fn begin(&self, body: AnyBody) {
        *self.0.lock() = Some(body);
    }

    /// Discards what has come. Ready once, when the body has come to its end; never while there is none.
    pub(super) fn poll_end(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut discarded = self.0.lock();
        while let Some(body) = &mut *discarded {
            match Pin::new(body).poll_frame(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(None) => {
                    *discarded = None;
                    return Poll::Ready(());
                }
                // hyper closes the connection by itself.
                Poll::Ready(Some(Err(_))) => *discarded = None,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Pending
    }
}
