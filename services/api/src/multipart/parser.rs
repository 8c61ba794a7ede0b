//! Splits a form into its parts.

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memmem::Finder, memrchr};

use super::{PartHead, shown};

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
                Step::NeedsMore if self.preamble_bytes == 0 => self.state = State::End,
                Step::NeedsMore => return Err(self.no_delimiter()),
            }
            if self.state == State::End {
                return Ok(Event::End);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a form comes to: its parts as name and content, or why it cannot be read.
    type Outcome = Result<Vec<(String, Vec<u8>)>, FormError>;

    /// Reads a body that comes in segments of the lengths that `cuts` gives, and checks that no event is empty
    /// and none comes out of turn.
    fn parse(boundary: &str, body: &[u8], mut cuts: impl Iterator<Item = usize>) -> Outcome {
        let mut parser = Parser::new(boundary.as_bytes());
        let mut rest = body;
        let mut parts = Vec::new();
        let mut is_in_part = false;
        loop {
            match parser.next()? {
                Event::NeedsMore if rest.is_empty() => {
                    assert!(!parser.is_last, "it needs more than there is");
                    parser.finish();
                }
                Event::NeedsMore => {
                    let kept = parser.input.len();
                    assert!(kept <= boundary.len() + MAX_PADDING + 6, "{kept} bytes are kept");
                    let (segment, behind) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                    parser.feed(Bytes::copy_from_slice(segment));
                    rest = behind;
                }
                Event::Part(head) => {
                    assert!(!is_in_part);
                    is_in_part = true;
                    parts.push((head.name.unwrap_or_default(), Vec::new()));
                }
                Event::Content(bytes) => {
                    assert!(is_in_part && !bytes.is_empty());
                    parts.last_mut().unwrap().1.extend_from_slice(&bytes);
                }
                Event::PartEnd => {
                    assert!(is_in_part);
                    is_in_part = false;
                }
                Event::End => {
                    assert!(!is_in_part);
                    assert_eq!(parser.next(), Ok(Event::End));
                    return Ok(parts);
                }
            }
        }
    }

    /// The outcome, which must be the same whole, byte by byte, and cut anywhere into two.
    fn outcome(boundary: &str, body: &[u8]) -> Outcome {
        let whole = parse(boundary, body, [usize::MAX].into_iter());
        for length in 1..20 {
            let cut = parse(boundary, body, std::iter::repeat(length));
            assert_eq!(cut, whole, "in segments of {length}");
        }
        for at in 0..body.len() {
            let cut = parse(boundary, body, [at, usize::MAX].into_iter());
            assert_eq!(cut, whole, "cut at {at}");
        }
        whole
    }

    fn check(body: &str, expected: &[(&str, &str)]) {
        let found =
            outcome("X", body.as_bytes()).unwrap_or_else(|error| panic!("{body:?}: {error}"));
        let found: Vec<_> = found
            .iter()
            .map(|(name, content)| (name.as_str(), str::from_utf8(content).unwrap()))
            .collect();
        assert_eq!(found, expected, "{body:?}");
    }

    const A: &str = "--X\r\nContent-Disposition: form-data; name=a\r\n\r\n";

    #[test]
    fn parts_are_split_at_delimiters_and_nowhere_else() {
        check("", &[]);
        check("--X--", &[]);
        check("--X", &[]);
        check(&format!("{A}1\r\n--X--\r\n"), &[("a", "1")]);
        check(&format!("{A}1\r\n--X"), &[("a", "1")]);
        check(&format!("{A}1\r\n--X-"), &[("a", "1")]);
        check(&format!("{A}1\r\n--X \r"), &[("a", "1")]);
        check(&format!("{A}1\r\n{A}2\r\n--X--"), &[("a", "1"), ("a", "2")]);
        check(&format!("{A}\r\n--X--"), &[("a", "")]);
        check(&format!("{A}--X--"), &[("a", "")]);
        check(&format!("{A}\r\n\r\n--X--"), &[("a", "\r\n")]);
        check(&format!("{A}\r\r\n--X--"), &[("a", "\r")]);
        check(&format!("{A}1\n--X--"), &[("a", "1")]);
        check(&format!("pre\r\namble\r\n{A}1\r\n--X--\r\n{A}2"), &[("a", "1")]);
        check(&format!("\u{FEFF}{A}1\r\n--X--"), &[("a", "1")]);
        check(&format!("--Xa --X-, --X b\n--{A}1\r\n--X--"), &[("a", "1")]);
        check(&format!("\r\n{A}1--X--\r\n--X--"), &[("a", "1--X--")]);
        check(
            &format!("{A}\r\n--Y\r\n--X-\r\n--Xa\r\n--X\r\r\n--X--"),
            &[("a", "\r\n--Y\r\n--X-\r\n--Xa\r\n--X\r")],
        );
        check(&format!("{A}\r\n--\r\n--\r\n--X--"), &[("a", "\r\n--\r\n--")]);
        check("--X\t \r\n\r\n1\r\n--X  \n\n2\n--X--", &[("", "1"), ("", "2")]);
        let padding = " ".repeat(MAX_PADDING);
        check(&format!("{A}1\r\n--X{padding}\r\n\r\n2\r\n--X--"), &[("a", "1"), ("", "2")]);
        let text = format!("1\r\n--X{padding} \r\n\r\n2");
        check(&format!("{A}{text}\r\n--X--"), &[("a", &text)]);
    }

    #[test]
    fn boundaries_that_begin_with_themselves_are_found() {
        for boundary in ["-", "--", "----", "--a--a", "a=b?c"] {
            let body =
                format!("--{boundary}\r\n\r\n--\r\n---\r\r\n-----\n--a--\r\n--{boundary}--\r\n");
            let content = match boundary {
                // Five dashes are its last delimiter.
                "-" => "--\r\n---\r",
                _ => "--\r\n---\r\r\n-----\n--a--",
            };
            let found = outcome(boundary, body.as_bytes()).unwrap();
            assert_eq!(found, [(String::new(), content.as_bytes().to_vec())], "{boundary}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_form_is_said() {
        let error = |body: &str| outcome("X", body.as_bytes()).unwrap_err();
        let boundary = || "X".to_owned();
        let no_delimiter = |begins: &str| FormError::NoDelimiter {
            boundary: boundary(),
            begins: begins.to_owned(),
        };
        assert_eq!(error("hello\nyou"), no_delimiter("hello"));
        assert_eq!(error("--Y\r\n\r\n--Y--"), no_delimiter("--Y"));
        assert_eq!(error("--X\r\n"), FormError::EndsInHeader { number: 1 });
        assert_eq!(error(&format!("{A}1\r\n--X\r\na: b")), FormError::EndsInHeader { number: 2 });
        let ends_in =
            |part: &str| FormError::EndsInPart { part: part.to_owned(), boundary: boundary() };
        assert_eq!(error(&format!("{A}1")), ends_in("'a'"));
        assert_eq!(error("--X\r\n\r\n1\r\n--"), ends_in("1"));
    }

    #[test]
    fn headers_parts_and_preambles_are_bounded_to_the_byte() {
        let by =
            |segment| move |body: &str| parse("X", body.as_bytes(), std::iter::repeat(segment));
        for parse in [by(1), by(1000), by(usize::MAX)] {
            let header = |bytes| format!("--X\r\na:{}\r\n\r\n\r\n--X--", "b".repeat(bytes - 6));
            assert!(parse(&header(MAX_HEADER_BYTES)).is_ok());
            let too_long = Err(FormError::HeaderTooLong { number: 1 });
            assert_eq!(parse(&header(MAX_HEADER_BYTES + 1)), too_long);
            let parts = |parts| format!("{}--X--", "--X\n\n\n".repeat(parts));
            assert_eq!(parse(&parts(MAX_PARTS)).map(|parts| parts.len()), Ok(MAX_PARTS));
            assert_eq!(parse(&parts(MAX_PARTS + 1)), Err(FormError::TooManyParts));
            let preamble = |bytes| format!("{}\n--X--", "b".repeat(bytes - 1));
            assert!(parse(&preamble(MAX_PREAMBLE_BYTES)).is_ok());
            assert!(parse(&preamble(MAX_PREAMBLE_BYTES + 1)).is_err());
        }
    }

    /// Bodies of pieces that are nearly delimiters, cut at random.
    #[test]
    fn no_segmentation_changes_the_outcome() {
        let pieces = [
            "\r",
            "\n",
            "\r\n",
            "--X",
            "\r\n--X\r\n",
            "\n--X--",
            "-",
            " ",
            "X",
            "a",
            ": ",
            "\r\n\r\n",
            A,
            "Content-",
        ];
        // A linear congruential generator (Knuth's MMIX), so that a failure comes again.
        let mut state = 1_u64;
        let mut random = move |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..500 {
            let chosen: Vec<_> = (0..random(20)).map(|_| pieces[random(pieces.len())]).collect();
            let body = chosen.concat();
            let whole = parse("X", body.as_bytes(), [usize::MAX].into_iter());
            for _ in 0..20 {
                let cuts: Vec<_> = (0..body.len()).map(|_| random(8)).collect();
                let cut = parse("X", body.as_bytes(), cuts.iter().copied());
                assert_eq!(cut, whole, "{body:?} by {cuts:?}");
            }
        }
    }
}
