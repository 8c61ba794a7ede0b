//! The segments of a body that may take long, as long as it keeps coming. Only the time that the API waits for its client
//! counts: it does not read on while it has no room for more pictures.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Instant, timeout};

use crate::upload::{
    error::UploadError,
    rules::{MIN_BYTES_PER_SECOND, RATE_GRACE},
};

/// Why a body is too slow.
#[derive(Debug, thiserror::Error)]
enum TooSlow {
    #[error("nothing more of it arrived for {0:?}")]
    Silent(Duration),
    #[error("it came at less than {MIN_BYTES_PER_SECOND} bytes a second")]
    Trickle,
    #[error("it did not arrive within {0:?}")]
    Late(Duration),
}

struct Pace<S> {
    segments: S,
    silence: Duration,
    deadline: (Instant, Duration),
    waited: Duration,
    bytes: u64,
}

/// `segments`, which end with an error when the client sends nothing for `silence`, less than the minimum rate, or for
/// longer than `longest` in all.
pub(super) fn paced(
    segments: impl Stream<Item = io::Result<Bytes>> + Send + Unpin,
    silence: Duration,
    longest: Duration,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let deadline = (Instant::now() + longest, longest);
    let pace = Pace { segments, silence, deadline, waited: Duration::ZERO, bytes: 0 };
    stream::unfold(Some(pace), |pace| async {
        let mut pace = pace?;
        match pace.next().await {
            Ok(segment) => segment.map(|segment| (Ok(segment), Some(pace))),
            Err(error) => Some((Err(error), None)),
        }
    })
}

impl<S: Stream<Item = io::Result<Bytes>> + Unpin> Pace<S> {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let began = Instant::now();
        let (deadline, longest) = self.deadline;
        let segment = timeout(self.silence, self.segments.next()).await;
        let segment = segment.map_err(|_| late(TooSlow::Silent(self.silence)))?;
        self.waited += began.elapsed();
        let segment = segment.transpose()?;
        self.bytes += segment.as_ref().map_or(0, |segment| segment.len() as u64);
        if Instant::now() > deadline {
            return Err(late(TooSlow::Late(longest)));
        }
        let least = self.waited.as_secs() * MIN_BYTES_PER_SECOND;
        if segment.is_some() && self.waited > RATE_GRACE && self.bytes < least {
            return Err(late(TooSlow::Trickle));
        }
        Ok(segment)
    }
}

fn late(why: TooSlow) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

/// An error of such a body as an error of the upload.
pub(super) fn in_words(error: UploadError) -> UploadError {
    match error {
        UploadError::Body(error) if error.kind() == io::ErrorKind::TimedOut => {
            UploadError::BatchTooSlow(error.to_string())
        }
        error => error,
    }
}
