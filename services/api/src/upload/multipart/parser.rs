//! Splits a form into its parts.

#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memmem::Finder, memrchr};

use super::{part::PartHead, text::shown};

/// The most parts of a form. Flask's own limit.
const MAX_PARTS: usize = 1000;
/// The most bytes of a part's header lines together.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// The most bytes before the first delimiter.
const MAX_PREAMBLE_BYTES: usize = 64 * 1024;
/// The most spaces and tabs between a boundary and the end of its line; with more it is content.
const MAX_PADDING: usize = 128;
/// How much of a body without a delimiter is shown.
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
    #[error("the form has more than {MAX_PARTS} parts before the picture")]
    TooManyParts,
}

/// What comes next in a form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Nothing before the next segment, or before it is known that there is none.
    NeedsMore,
    /// A part begins.
    Part(PartHead),
    /// Some of the part's content, never empty.
    Content(Bytes),
    /// The part is complete.
    PartEnd,
    /// The form is complete. What follows in the body is to be passed over.
    End,
}

/// A parser of one form.
///
/// A delimiter is a line of its own: two dashes, the boundary, spaces or tabs. Two more dashes in their place
/// end the form, as does the end of the body right behind the boundary. Lines end with CR LF, or with LF alone.
#[derive(Debug)]
pub(crate) struct Parser {
    /// Of a line feed and the delimiter. The boundary has no line feed, so it holds no other.
    finder: Finder<'static>,
    /// Of the delimiter alone. The first one may stand anywhere: some clients write a byte order mark before it.
    first_finder: Finder<'static>,
    /// What has come and was not given out.
    input: Bytes,
    /// So much of the input is known to hold no delimiter.
    searched: usize,
    /// Whether there is nothing after the input.
    is_last: bool,
    /// Whether the input begins with the first byte of a line.
    at_line_start: bool,
    state: State,
    /// The header lines of the part that begins.
    header: Vec<u8>,
    /// How many parts have begun.
    parts: usize,
    /// How messages name the part that is read.
    part: String,
    /// How many bytes came before the first delimiter, and the first of them.
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

/// What is next in the input.
enum Step {
    NeedsMore,
    /// Never empty.
    Text(Bytes),
    Delimiter(Follows),
}

/// What a delimiter is followed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follows {
    Part,
    Nothing,
}

/// What the text behind a boundary makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// A delimiter, with so many bytes behind the boundary.
    Delimiter(Follows, usize),
    /// It is too early to say.
    Undecided,
    /// Not the end of a line: all of it is text.
    Text,
}

impl Parser {
    /// `boundary` as [`super::boundary_of`] gives it: without a line end.
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
            part: String::new(),
            preamble_bytes: 0,
            opening: Vec::new(),
        }
    }

    /// Takes the next bytes of the body in, after [`Event::NeedsMore`].
    pub(crate) fn feed(&mut self, segment: Bytes) {
        if self.input.is_empty() {
            self.input = segment;
        } else {
            // What is left is no longer than a delimiter, and most times nothing is.
            let mut joined = BytesMut::with_capacity(self.input.len() + segment.len());
            joined.extend_from_slice(&self.input);
            joined.extend_from_slice(&segment);
            self.input = joined.freeze();
        }
    }

    /// Says that the body has no more bytes.
    pub(crate) fn finish(&mut self) {
        self.is_last = true;
    }

    /// What comes next in the form. After [`Self::finish`] it is never [`Event::NeedsMore`].
    ///
    /// # Errors
    /// [`FormError`]. Nothing more can be read then.
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
                // A form without fields may come as no bytes at all.
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
        if number > MAX_PARTS {
            return Err(FormError::TooManyParts);
        }
        let head = PartHead::parse(&self.header);
        self.header.clear();
        self.parts = number;
        self.part = head
            .name
            .as_deref()
            .map_or_else(|| number.to_string(), |name| format!("'{}'", shown(name)));
        // A part may be empty, without a line end of its own.
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

    /// Takes text up to a delimiter, or the delimiter with its line ends, off the input.
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
                // The delimiter is found again at once.
                Tail::Delimiter(..) | Tail::Undecided => return self.text(text),
            }
        }
        let kept = if self.is_last { 0 } else { unsettled(&self.input, needle) };
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
        let begins = shown(opening.lines().next().unwrap_or_default()).into_owned();
        FormError::NoDelimiter { boundary: self.boundary(), begins }
    }

    /// The boundary, as messages show it.
    fn boundary(&self) -> String {
        let boundary = &self.finder.needle()[b"\n--".len()..];
        shown(&String::from_utf8_lossy(boundary)).into_owned()
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

/// What `behind` a boundary says of it.
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
        // Some clients leave the last dashes out.
        [] | [b'\r'] if is_last => Tail::Delimiter(Follows::Nothing, behind.len()),
        [b'-'] if is_last && padding == 0 => Tail::Delimiter(Follows::Nothing, 1),
        [] | [b'\r'] => Tail::Undecided,
        [b'-'] if padding == 0 => Tail::Undecided,
        _ => Tail::Text,
    }
}

/// How many of the last bytes of `input`, which ends with no `needle`, may be the beginning of one, or the
/// carriage return before it.
fn unsettled(input: &[u8], needle: &[u8]) -> usize {
    let end = &input[input.len().saturating_sub(needle.len() - 1)..];
    let begun = match needle[0] {
        // It is the only line feed of the needle, so no other than the last can be its beginning.
        b'\n' => {
            let last = memrchr(b'\n', end).filter(|newline| needle.starts_with(&end[*newline..]));
            last.map_or(0, |newline| end.len() - newline)
        }
        _ => end.len(),
    };
    let before = &input[..input.len() - begun];
    begun + usize::from(before.last() == Some(&b'\r'))
}
