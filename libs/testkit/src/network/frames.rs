//! Splits a byte stream into messages.

/// How a stream is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Into chunks, as they happen to be read.
    Bytes,
    /// Into messages of the NATS protocol: a line, and after PUB, HPUB, MSG and HMSG a payload whose length is
    /// the line's last word.
    Nats,
}

/// Collects a stream's chunks and returns its messages.
#[derive(Debug)]
pub(crate) struct Frames {
    framing: Framing,
    buffer: Vec<u8>,
}

impl Frames {
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, buffer: Vec::new() }
    }

    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next complete message, if it has arrived.
    pub(crate) fn next_frame(&mut self) -> Option<Vec<u8>> {
        let length = match self.framing {
            Framing::Bytes => Some(self.buffer.len()).filter(|length| *length > 0),
            Framing::Nats => nats_frame_length(&self.buffer),
        };
        let length = length.filter(|length| *length <= self.buffer.len())?;
        let rest = self.buffer.split_off(length);
        Some(std::mem::replace(&mut self.buffer, rest))
    }
}

/// The bytes of the first message, its payload included, once its line is there.
fn nats_frame_length(buffer: &[u8]) -> Option<usize> {
    const CRLF: usize = 2;
    let line_length = buffer.windows(CRLF).position(|two| two == b"\r\n")?;
    let line = String::from_utf8_lossy(&buffer[..line_length]);
    let mut words = line.split_ascii_whitespace();
    let verb = words.next().unwrap_or_default().to_ascii_uppercase();
    let has_payload = matches!(verb.as_str(), "PUB" | "HPUB" | "MSG" | "HMSG");
    let payload = words.next_back().and_then(|length| length.parse::<usize>().ok());
    Some(match payload.filter(|_| has_payload) {
        Some(payload) => line_length + CRLF + payload + CRLF,
        None => line_length + CRLF,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nats_stream_is_split_into_messages_for_any_chunks() {
        let messages = [
            "INFO {\"max_payload\":1048576}\r\n",
            "PING\r\n",
            "PUB jobs.a _INBOX.1 5\r\na\r\nbc\r\n",
            "HMSG x 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
            "+OK\r\n",
            "PUB empty 0\r\n\r\n",
            "SUB PUB 5\r\n",
        ];
        let stream = messages.concat();
        for size in [1, 2, 7, stream.len()] {
            let mut frames = Frames::new(Framing::Nats);
            let mut found = Vec::new();
            for chunk in stream.as_bytes().chunks(size) {
                frames.push(chunk);
                while let Some(frame) = frames.next_frame() {
                    found.push(String::from_utf8(frame).unwrap());
                }
            }
            assert_eq!(found, messages, "in chunks of {size}");
        }
    }
}
