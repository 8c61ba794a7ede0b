//! Decodes non-ASCII text in headers, and makes clients' text safe for errors.

use std::borrow::Cow;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use percent_encoding::percent_decode;

/// Maximum number of characters of a client's text in an error.
const SHOWN_CHARACTERS: usize = 100;
/// Some clients omit the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The encodings that RFC 5987 requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charset {
    Utf8,
    Latin1,
}

impl Charset {
    /// The encoding of this name, in upper or lower case.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        match name.to_ascii_lowercase().as_slice() {
            b"utf-8" | b"utf8" | b"us-ascii" => Some(Self::Utf8),
            b"iso-8859-1" | b"latin1" => Some(Self::Latin1),
            _ => None,
        }
    }

    /// Invalid bytes become U+FFFD.
    pub(super) fn decode(self, bytes: &[u8]) -> String {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Self::Latin1 => bytes.iter().copied().map(char::from).collect(),
        }
    }
}

/// Decodes the encoded words of RFC 2047 in `value`, such as `=?utf-8?B?54yr?=`, and leaves the rest
/// unchanged.
pub(super) fn decode_words(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value);
    let mut decoded = String::with_capacity(value.len());
    let mut rest = value.as_ref();
    let mut is_behind_word = false;
    while let Some(start) = rest.find("=?") {
        let (before, from_start) = rest.split_at(start);
        let word = decode_word(from_start);
        // White space between two encoded words is not part of the text.
        if !(is_behind_word && word.is_some() && before.trim().is_empty()) {
            decoded.push_str(before);
        }
        is_behind_word = word.is_some();
        rest = match word {
            Some((text, behind)) => {
                decoded.push_str(&text);
                behind
            }
            None => {
                decoded.push_str("=?");
                &from_start[2..]
            }
        };
    }
    decoded + rest
}

/// The text of the encoded word at the start of `text`, and the text after it.
fn decode_word(text: &str) -> Option<(String, &str)> {
    let mut fields = text.strip_prefix("=?")?.splitn(3, '?');
    let (charset, encoding, rest) = (fields.next()?, fields.next()?, fields.next()?);
    // Encoded text has no question mark, so the search ends at the start of the next word.
    let (encoded, behind) = rest.split_once('?')?;
    let behind = behind.strip_prefix('=')?;
    // A language may follow the charset.
    let charset = charset.split('*').next()?;
    let bytes = match encoding {
        "B" | "b" => BASE64.decode(encoded).ok()?,
        "Q" | "q" => percent_decode(
            encoded.replace('%', "%25").replace('=', "%").replace('_', " ").as_bytes(),
        )
        .collect(),
        _ => return None,
    };
    let charset = Charset::named(charset.as_bytes()).unwrap_or(Charset::Utf8);
    Some((charset.decode(&bytes), behind))
}

/// `text` with U+FFFD in place of control characters, which can manipulate logs and terminals.
pub(crate) fn without_controls(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        text.replace(char::is_control, "\u{FFFD}").into()
    } else {
        text.into()
    }
}

/// A client's text for errors: on one line, and shortened.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", without_controls(&text[..end])).into(),
        None => without_controls(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_words_are_decoded_and_nothing_else() {
        let cases = [
            ("bus.jpg", "bus.jpg"),
            ("=?utf-8?B?54yr?=", "猫"),
            ("=?UTF-8*en?q?caf=C3=A9_%41.jpg?=", "café %41.jpg"),
            ("=?iso-8859-1?Q?caf=E9?= =?utf-8?b?54yr?=", "café猫"),
            ("a =?utf-8?B?54yr?= b", "a 猫 b"),
            ("=?utf-8?B?54yrLmpwZw?=", "猫.jpg"),
            ("=?gb2312?B?w6ji?=", "è\u{FFFD}"),
            ("=?utf-8?X?a?=.jpg", "=?utf-8?X?a?=.jpg"),
            ("=?utf-8?B?*?=", "=?utf-8?B?*?="),
            ("=?=?=?", "=?=?=?"),
            ("=?utf-8?Q?a=?utf-8?Q?b?=", "=?utf-8?Q?ab"),
            ("=?utf-8?B?54yr", "=?utf-8?B?54yr"),
        ];
        for (value, expected) in cases {
            assert_eq!(decode_words(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn what_is_shown_is_short_and_on_one_line() {
        assert_eq!(printable("a\n\x1b[31mb"), "a\u{FFFD}\u{FFFD}[31mb");
        let long = "猫".repeat(1000);
        assert_eq!(printable(&long).chars().count(), SHOWN_CHARACTERS + 1);
    }
}
