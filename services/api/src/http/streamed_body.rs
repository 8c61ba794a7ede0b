//! The body of a response whose content comes up over time, such as events.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, SizeHint};
use poem::Response;

use super::timeouts::Timeouts;

/// Such a body. The connection's timeouts wait for its end.
struct StreamedBody {
    body: BoxBody<Bytes, io::Error>,
    timeouts: Timeouts,
}

/// Has `timeouts` wait for the end of `answer`, unless that is complete already.
pub(super) fn watch(answer: &mut Response, timeouts: &Timeouts) {
    let body: BoxBody<Bytes, io::Error> = answer.take_body().into();
    if body.size_hint().exact().is_some() {
        return answer.set_body(body);
    }
    timeouts.start_streaming();
    answer.set_body(BoxBody::new(StreamedBody { body, timeouts: timeouts.clone() }));
}

impl Body for StreamedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for StreamedBody {
    /// hyper drops the body at its end, and with the connection.
    fn drop(&mut self) {
        self.timeouts.end_streaming();
    }
}
