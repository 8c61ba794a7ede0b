//! Splits a form into its parts.

#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memmem::Finder, memrchr};

use super::{part::PartHead, text::printable};

/// Maximum number of parts of a form, as in Flask.
const MAX_PARTS: usize = 1000;
/// Maximum size of a part's header, in bytes.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Maximum number of bytes before the first delimiter.
const MAX_PREAMBLE_BYTES: usize = 64 * 1024;
/// Maximum number of spaces and tabs between a boundary and the end of its line; with more, the line is
/// content.
const MAX_PADDING: usize = 128;
/// How many bytes of a body without a delimiter an error quotes.
const SHOWN_BYTES: usize = 80;

/// Why a form cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    #[error(
        "the Content-Type header says boundary '{boundary}', but no line of the body is \
         '--{boundary}'; the body begins with '{begins}'"
    )]
    NoDelimiter { boundary: String, begins: String },
    #[error("the form ends within the header of part {number}: send all of it")]
    EndsInHeader { number: usize },
    #[error(
        "the form ends within part {part}, before its last line '--{boundary}--': send all of it"
    )]
    EndsInPart { part: String, boundary: String },
    #[error("the header of part {number} has more than {MAX_HEADER_BYTES} bytes")]
    HeaderTooLong { number: usize },
    #[error("the form has more than {max_parts} parts before the picture")]
    TooManyParts { max_parts: usize },
}

/// An event of the parser.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The parser needs the next segment, or the end of the body.
    NeedsMore,
    /// A part starts.
    Part(PartHead),
    /// Some of the part's content, never empty.
    Content(Bytes),
    /// The part is complete.
    PartEnd,
    /// The form is complete. The rest of the body is to be ignored.
    End,
}

/// A parser of one form.
///
/// A delimiter is a line of its own: two dashes, the boundary, spaces or tabs. Two more dashes in place of
/// the spaces end the form, as does the end of the body right after the boundary. Lines end with CR LF or LF.
#[derive(Debug)]
pub(crate) struct Parser {
    /// Finds a line feed and the delimiter. The boundary has no line feed, so the needle has no other.
    finder: Finder<'static>,
    /// Finds the delimiter alone. The first one may be anywhere: some clients send a byte order mark before
    /// it.
    first_finder: Finder<'static>,
    /// Input that has not been returned yet.
    input: Bytes,
    /// This many bytes of the input are known to contain no delimiter.
    searched: usize,
    /// Whether the body ends with the input.
    is_last: bool,
    /// Whether the input begins with the first byte of a line.
    at_line_start: bool,
    state: State,
    /// The header of the next part, as far as it has arrived.
    header: Vec<u8>,
    /// How many parts have started, and how many may.
    parts: usize,
    max_parts: usize,
    /// The current part's name in errors.
    part: String,
    /// How many bytes there are before the first delimiter, and the first of them.
    preamble_bytes: usize,
    opening: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Preamble,
    Header,
    Content,
    End,
}

/// The next token of the input.
enum Step {
    NeedsMore,
    /// Never empty.
    Text(Bytes),
    Delimiter(Follows),
}

/// What follows a delimiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follows {
    Part,
    Nothing,
}

/// What the text after a boundary means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// A delimiter with this many bytes after the boundary.
    Delimiter(Follows, usize),
    /// Undecided without more input.
    Undecided,
    /// No delimiter: all of it is text.
    Text,
}

impl Parser {
    /// `boundary` is from [`super::boundary_of`] and has no line feed.
    pub(crate) fn new(boundary: &[u8]) -> Self {
        let needle = [b"\n--", boundary].concat();
        Self {
            finder: Finder::new(&needle).into_owned(),
            first_finder: Finder::new(&needle[1..]).into_owned(),
            input: Bytes::new(),
            searched: 0,
            is_last: false,
            at_line_start: false,
            state: State::Preamble,
            header: Vec::new(),
            parts: 0,
            max_parts: MAX_PARTS,
            part: String::new(),
            preamble_bytes: 0,
            opening: Vec::new(),
        }
    }

    /// A parser of a form with at most `max_parts` parts.
    pub(crate) fn of_parts(boundary: &[u8], max_parts: usize) -> Self {
        Self { max_parts, ..Self::new(boundary) }
    }

    /// Adds the next segment of the body, after [`Event::NeedsMore`].
    pub(crate) fn feed(&mut self, segment: Bytes) {
        if self.input.is_empty() {
            self.input = segment;
        } else {
            // The remaining input is no longer than a delimiter, and usually empty.
            let mut joined = BytesMut::with_capacity(self.input.len() + segment.len());
            joined.extend_from_slice(&self.input);
            joined.extend_from_slice(&segment);
            self.input = joined.freeze();
        }
    }

    /// Marks the end of the body.
    pub(crate) fn finish(&mut self) {
        self.is_last = true;
    }

    /// The next event. Never [`Event::NeedsMore`] after [`Self::finish`].
    ///
    /// # Errors
    /// [`FormError`]. The parser must not be used after it.
    pub(crate) fn next(&mut self) -> Result<Event, FormError> {
        match self.state {
            State::Preamble => self.preamble(),
            State::Header => self.header(),
            State::Content => self.content(),
            State::End => Ok(Event::End),
        }
    }

    fn preamble(&mut self) -> Result<Event, FormError> {
        loop {
            match self.step() {
                Step::Text(text) => {
                    let room = SHOWN_BYTES - self.opening.len();
                    self.opening.extend_from_slice(&text[..room.min(text.len())]);
                    self.preamble_bytes += text.len();
                    if self.preamble_bytes > MAX_PREAMBLE_BYTES {
                        return Err(self.no_delimiter());
                    }
                }
                Step::Delimiter(follows) => {
                    self.state = State::after(follows);
                    return self.next();
                }
                Step::NeedsMore if !self.is_last => return Ok(Event::NeedsMore),
                // A form without fields may have an empty body.
                Step::NeedsMore if self.preamble_bytes == 0 => {
                    self.state = State::End;
                    return Ok(Event::End);
                }
                Step::NeedsMore => return Err(self.no_delimiter()),
            }
        }
    }

    fn header(&mut self) -> Result<Event, FormError> {
        let number = self.parts + 1;
        loop {
            let line = match memchr(b'\n', &self.input) {
                Some(newline) => self.input.split_to(newline + 1),
                None => self.input.split_off(0),
            };
            if self.header.len() + line.len() > MAX_HEADER_BYTES {
                return Err(FormError::HeaderTooLong { number });
            }
            self.header.extend_from_slice(&line);
            if line.last() != Some(&b'\n') {
                return match self.is_last {
                    true => Err(FormError::EndsInHeader { number }),
                    false => Ok(Event::NeedsMore),
                };
            }
            let ends = [&b"\n\n"[..], b"\n\r\n"].iter().any(|end| self.header.ends_with(end));
            if ends || matches!(&self.header[..], b"\n" | b"\r\n") {
                break;
            }
        }
        if number > self.max_parts {
            return Err(FormError::TooManyParts { max_parts: self.max_parts });
        }
        let head = PartHead::parse(&self.header);
        self.header.clear();
        self.parts = number;
        self.part = head
            .name
            .as_deref()
            .map_or_else(|| number.to_string(), |name| format!("'{}'", printable(name)));
        // A part may be empty, without a line ending of its own.
        self.at_line_start = true;
        self.state = State::Content;
        Ok(Event::Part(head))
    }

    fn content(&mut self) -> Result<Event, FormError> {
        match self.step() {
            Step::Text(text) => Ok(Event::Content(text)),
            Step::Delimiter(follows) => {
                self.state = State::after(follows);
                Ok(Event::PartEnd)
            }
            Step::NeedsMore if self.is_last => {
                Err(FormError::EndsInPart { part: self.part.clone(), boundary: self.boundary() })
            }
            Step::NeedsMore => Ok(Event::NeedsMore),
        }
    }

    /// Takes text up to a delimiter, or the delimiter with its line endings, from the input.
    fn step(&mut self) -> Step {
        if self.at_line_start {
            match self.delimiter_at_line_start() {
                Tail::Delimiter(follows, length) => return self.pass(follows, length),
                Tail::Undecided => return Step::NeedsMore,
                Tail::Text => self.at_line_start = false,
            }
        }
        let finder = match self.state {
            State::Preamble => &self.first_finder,
            _ => &self.finder,
        };
        let needle = finder.needle();
        while let Some(found) = finder.find(&self.input[self.searched..]) {
            let start = self.searched + found;
            let has_return = start > 0 && self.input[start - 1] == b'\r';
            let text = start - usize::from(has_return);
            let end = start + needle.len();
            match tail(&self.input[end..], self.is_last) {
                Tail::Text => self.searched = start + 1,
                Tail::Undecided if text == 0 => return Step::NeedsMore,
                Tail::Delimiter(follows, length) if text == 0 => {
                    return self.pass(follows, end + length);
                }
                // The next step finds the delimiter again.
                Tail::Delimiter(..) | Tail::Undecided => return self.text(text),
            }
        }
        let kept = if self.is_last { 0 } else { undecided_suffix(&self.input, needle) };
        match self.input.len() - kept {
            0 => Step::NeedsMore,
            text => self.text(text),
        }
    }

    fn delimiter_at_line_start(&self) -> Tail {
        let delimiter = &self.finder.needle()[1..];
        match self.input.strip_prefix(delimiter) {
            Some(behind) => match tail(behind, self.is_last) {
                Tail::Delimiter(follows, length) => {
                    Tail::Delimiter(follows, delimiter.len() + length)
                }
                tail => tail,
            },
            None if delimiter.starts_with(&self.input) && !self.is_last => Tail::Undecided,
            None => Tail::Text,
        }
    }

    fn pass(&mut self, follows: Follows, bytes: usize) -> Step {
        self.input.advance(bytes);
        self.searched = 0;
        self.at_line_start = false;
        Step::Delimiter(follows)
    }

    fn text(&mut self, bytes: usize) -> Step {
        self.searched = 0;
        Step::Text(self.input.split_to(bytes))
    }

    fn no_delimiter(&self) -> FormError {
        let opening = String::from_utf8_lossy(&self.opening);
        let begins = printable(opening.lines().next().unwrap_or_default()).into_owned();
        FormError::NoDelimiter { boundary: self.boundary(), begins }
    }

    /// The boundary for errors.
    fn boundary(&self) -> String {
        let boundary = &self.finder.needle()[b"\n--".len()..];
        printable(&String::from_utf8_lossy(boundary)).into_owned()
    }
}

impl State {
    fn after(follows: Follows) -> Self {
        match follows {
            Follows::Part => Self::Header,
            Follows::Nothing => Self::End,
        }
    }
}

/// Classifies the text `behind` a boundary.
fn tail(behind: &[u8], is_last: bool) -> Tail {
    if behind.starts_with(b"--") {
        return Tail::Delimiter(Follows::Nothing, 2);
    }
    let padding = behind.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    if padding > MAX_PADDING {
        return Tail::Text;
    }
    match &behind[padding..] {
        [b'\n', ..] => Tail::Delimiter(Follows::Part, padding + 1),
        [b'\r', b'\n', ..] => Tail::Delimiter(Follows::Part, padding + 2),
        // Some clients omit the last dashes.
        [] | [b'\r'] if is_last => Tail::Delimiter(Follows::Nothing, behind.len()),
        [b'-'] if is_last && padding == 0 => Tail::Delimiter(Follows::Nothing, 1),
        [] | [b'\r'] => Tail::Undecided,
        [b'-'] if padding == 0 => Tail::Undecided,
        _ => Tail::Text,
    }
}

/// How many of the last bytes of `input`, which contains no `needle`, may be the start of one, or the
/// carriage return before it.
fn undecided_suffix(input: &[u8], needle: &[u8]) -> usize {
    let end = &input[input.len().saturating_sub(needle.len() - 1)..];
    let begun = match needle[0] {
        // The needle has only one line feed, so only the last one of the input can be its start.
        b'\n' => {
            let last = memrchr(b'\n', end).filter(|newline| needle.starts_with(&end[*newline..]));
            last.map_or(0, |newline| end.len() - newline)
        }
        _ => end.len(),
    };
    let before = &input[..input.len() - begun];
    begun + usize::from(before.last() == Some(&b'\r'))
}
