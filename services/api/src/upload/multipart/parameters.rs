//! The parameters of a header such as `form-data; name="file"; filename="bus.jpg"`.

use percent_encoding::percent_decode;

use super::text::{Charset, decode_words, without_controls};

/// Maximum number of parameters that are parsed; clients send three.
const MAX_PARAMETERS: usize = 64;

/// A parameter's name in lower case, and the bytes of its value without quotes.
pub(super) type Parameter = (String, Vec<u8>);

/// The first parameters of `header`, in order. Those without a value are skipped.
pub(super) fn parameters(header: &[u8]) -> Vec<Parameter> {
    let mut found = Vec::new();
    let mut rest = behind(header, b';');
    while !rest.is_empty() && found.len() < MAX_PARAMETERS {
        let end = rest.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(rest.len());
        let (name, behind_name) = rest.split_at(end);
        let Some((b'=', value)) = behind_name.split_first() else {
            rest = behind(behind_name, b';');
            continue;
        };
        let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
        let value = value.trim_ascii_start();
        let (value, behind_value) = match value.split_first() {
            Some((b'"', quoted)) => unquote(quoted),
            _ => {
                let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
                (value[..end].trim_ascii().to_vec(), &value[end..])
            }
        };
        found.push((name, value));
        rest = behind(behind_value, b';');
    }
    found
}

/// The text after the first `separator`.
fn behind(text: &[u8], separator: u8) -> &[u8] {
    match text.iter().position(|byte| *byte == separator) {
        Some(at) => &text[at + 1..],
        None => &[],
    }
}

/// Splits `text`, a quoted string without its opening quote, into its value and the text after it.
///
/// By RFC 9110 a backslash escapes the next character. Browsers send it unescaped, old ones also in the paths
/// that they send as file names, and in some encodings it is the second byte of a character. So it escapes
/// only a quote, and only if the next parameter or the end follows the string.
fn unquote(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut rest = text;
    loop {
        match rest {
            [b'\\', b'"', behind @ ..] => {
                value.push(b'"');
                rest = behind;
            }
            [b'"', behind @ ..] if ends_parameter(behind) => return (value, behind),
            [] | [b'"', ..] => break,
            [byte, behind @ ..] => {
                value.push(*byte);
                rest = behind;
            }
        }
    }
    // An unescaped quote in the name, or a backslash at its end.
    let is_end = |at: &usize| text[*at] == b'"' && ends_parameter(&text[at + 1..]);
    match (0..text.len()).find(is_end) {
        Some(end) => (text[..end].to_vec(), &text[end + 1..]),
        None => (text.to_vec(), &[]),
    }
}

fn ends_parameter(behind: &[u8]) -> bool {
    matches!(behind.trim_ascii_start().first(), None | Some(b';'))
}

/// The text of parameter `name`, in any of the encodings that clients use for non-ASCII text: `name*` (RFC
/// 5987), `name*0`, `name*1` (RFC 2231), `name` with encoded words (RFC 2047), UTF-8, or an unnamed encoding,
/// of which only the ASCII characters are decoded. Control characters are replaced.
pub(super) fn text_parameter(parameters: &[Parameter], name: &str) -> Option<String> {
    let value = |name: &str| {
        let found = parameters.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_slice())
    };
    let extended = value(&format!("{name}*")).map(Extended::parse);
    let text = match &extended {
        Some(Extended { charset: Some(charset), bytes }) => charset.decode(bytes),
        _ => continued(&value, name)
            .or_else(|| value(name).map(decode_words))
            .or_else(|| extended.map(|extended| Charset::Utf8.decode(&extended.bytes)))?,
    };
    Some(without_controls(&text).into_owned())
}

/// The pieces `name*0`, `name*1` and so on, each percent-encoded if its name ends with another `*`.
fn continued<'a>(value: &impl Fn(&str) -> Option<&'a [u8]>, name: &str) -> Option<String> {
    let mut charset = Charset::Utf8;
    let mut bytes = Vec::new();
    for number in 0..MAX_PARAMETERS {
        if let Some(encoded) = value(&format!("{name}*{number}*")) {
            if number == 0 {
                let first = Extended::parse(encoded);
                charset = first.charset.unwrap_or(Charset::Utf8);
                bytes.extend_from_slice(&first.bytes);
            } else {
                bytes.extend(percent_decode(encoded));
            }
        } else if let Some(plain) = value(&format!("{name}*{number}")) {
            bytes.extend_from_slice(plain);
        } else {
            return (number > 0).then(|| charset.decode(&bytes));
        }
    }
    None
}

/// A value such as `UTF-8''%e7%8c%ab.jpg`.
struct Extended {
    /// `None` if it is not supported.
    charset: Option<Charset>,
    bytes: Vec<u8>,
}

impl Extended {
    fn parse(value: &[u8]) -> Self {
        let mut pieces = value.splitn(3, |byte| *byte == b'\'');
        match (pieces.next(), pieces.next(), pieces.next()) {
            (Some(charset), Some(_language), Some(text)) => {
                Self { charset: Charset::named(charset), bytes: percent_decode(text).collect() }
            }
            _ => Self { charset: None, bytes: percent_decode(value).collect() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expected: &[(&str, &str)]) {
        let found = parameters(header.as_bytes());
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| (name.as_str(), str::from_utf8(value).unwrap()))
            .collect();
        assert_eq!(found, expected, "{header}");
    }

    #[test]
    fn parameters_are_told_apart() {
        check("form-data", &[]);
        check("", &[]);
        check(
            "form-data; name=a; NAME = \"b\" ;;c; =d",
            &[("name", "a"), ("name", "b"), ("", "d")],
        );
        check(r#"x; a="1;2"; b=3"#, &[("a", "1;2"), ("b", "3")]);
        check(r#"x; a="b=\"c\"; d=\"e\"""#, &[("a", r#"b="c"; d="e""#)]);
        check(r#"x; a="C:\"; b="c""#, &[("a", r"C:\"), ("b", "c")]);
        check(r#"x; a="C:\dir\""#, &[("a", r"C:\dir\")]);
        check(r#"x; a="b"c"; d=e"#, &[("a", r#"b"c"#), ("d", "e")]);
        check(r#"x; a="open; b=c"#, &[("a", "open; b=c")]);
        check(r#"x; a="b" c; d=e"#, &[("a", r#"b" c; d=e"#)]);
        check(r#"x; boundary==a/b:c?"#, &[("boundary", "=a/b:c?")]);
    }

    #[test]
    fn only_the_first_of_many_parameters_are_parsed() {
        let header = format!("x{}; name*{MAX_PARAMETERS}=y", "; name*0=a; b".repeat(1000));
        let found = parameters(header.as_bytes());
        assert_eq!(found.len(), MAX_PARAMETERS);
        assert_eq!(text_parameter(&found, "name").as_deref(), Some("a"));
    }
}
