//! The lines of an answer, as they come.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use tokio::time::timeout;

use crate::{ClientError, api::LONGEST_ANSWER};

/// How long an answer may be silent. The API sends a comment every 15 s where there is nothing else to send.
const SILENCE: Duration = Duration::from_secs(60);

/// The lines of an answer, as they come.
pub(crate) struct Lines {
    answer: Response,
    unread: BytesMut,
}

impl Lines {
    pub(crate) fn new(answer: Response) -> Self {
        Self { answer, unread: BytesMut::new() }
    }

    /// The next line, without its end; `None` at the end of the answer. A last line that has no end is left out.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let mut line = self.unread.split_to(end + 1);
                line.truncate(end);
                return Ok(Some(line.freeze()));
            }
            if self.unread.len() > LONGEST_ANSWER {
                let what = format!("a line of more than {LONGEST_ANSWER} bytes");
                return Err(ClientError::Unexpected(what));
            }
            let silent = |_| ClientError::NoAnswer(format!("nothing came for {SILENCE:?}"));
            match timeout(SILENCE, self.answer.chunk()).await.map_err(silent)?? {
                Some(chunk) => self.unread.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
