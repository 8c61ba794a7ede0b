//! Bodies that are split at every byte.

use super::*;

/// The parts of a form as name and content, or why it cannot be read.
type Outcome = Result<Vec<(String, Vec<u8>)>, FormError>;

/// Parses a body in segments of the lengths `cuts`, and checks that no event is empty or out of order.
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

/// The outcome, which must be the same for the whole body, byte by byte, and split into two anywhere.
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
    let found = outcome("X", body.as_bytes()).unwrap_or_else(|error| panic!("{body:?}: {error}"));
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
        let body = format!("--{boundary}\r\n\r\n--\r\n---\r\r\n-----\n--a--\r\n--{boundary}--\r\n");
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
    let no_delimiter =
        |begins: &str| FormError::NoDelimiter { boundary: boundary(), begins: begins.to_owned() };
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
    let by = |segment| move |body: &str| parse("X", body.as_bytes(), std::iter::repeat(segment));
    for parse in [by(1), by(1000), by(usize::MAX)] {
        let header = |bytes| format!("--X\r\na:{}\r\n\r\n\r\n--X--", "b".repeat(bytes - 6));
        assert!(parse(&header(MAX_HEADER_BYTES)).is_ok());
        let too_long = Err(FormError::HeaderTooLong { number: 1 });
        assert_eq!(parse(&header(MAX_HEADER_BYTES + 1)), too_long);
        let parts = |parts| format!("{}--X--", "--X\n\n\n".repeat(parts));
        assert_eq!(parse(&parts(MAX_PARTS)).map(|parts| parts.len()), Ok(MAX_PARTS));
        assert_eq!(
            parse(&parts(MAX_PARTS + 1)),
            Err(FormError::TooManyParts { max_parts: MAX_PARTS })
        );
        let preamble = |bytes| format!("{}\n--X--", "b".repeat(bytes - 1));
        assert!(parse(&preamble(MAX_PREAMBLE_BYTES)).is_ok());
        assert!(parse(&preamble(MAX_PREAMBLE_BYTES + 1)).is_err());
    }
}

/// Bodies of fragments that are almost delimiters, split at random.
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
    // A linear congruential generator (Knuth's MMIX), so that a failure can be reproduced.
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
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
