//! The header `Accept` (RFC 9110, section 12.5.1): which of several representations a client prefers.

use poem::http::{HeaderMap, header};

/// What a client accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accept(Vec<MediaRange>);

/// A media type, or a wildcard for several.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MediaRange {
    /// In lower case, or `*`.
    kind: String,
    /// In lower case, or `*`.
    subtype: String,
    /// Its parameter `profile`; other parameters, such as `charset`, are ignored.
    profile: Option<String>,
    /// In thousandths.
    quality: u16,
}

impl Accept {
    /// Of a request's headers. Ranges that are malformed are ignored; without any other, everything is accepted, as
    /// without the header.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT).into_iter();
        let ranges = values.flat_map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            split(&text, ',').into_iter().filter_map(MediaRange::parse).collect::<Vec<_>>()
        });
        Self(ranges.collect())
    }

    /// The representation that the client prefers, of `offers` with their media types, such as
    /// `application/json; profile=coco`. Among equals, the first one; `None` where it accepts none.
    pub(crate) fn prefer<T: Copy>(&self, offers: &[(T, &str)]) -> Option<T> {
        let mut best: Option<(T, u16)> = None;
        for (offer, media_type) in offers {
            let quality = self.quality(media_type);
            if quality > best.map_or(0, |(_, quality)| quality) {
                best = Some((*offer, quality));
            }
        }
        best.map(|(offer, _)| offer)
    }

    /// Whether the header names this media type itself, and not only by a wildcard.
    pub(crate) fn names(&self, media_type: &str) -> bool {
        let Some(offer) = MediaRange::parse(media_type) else { return false };
        self.0.iter().any(|range| range.specificity(&offer) >= Some(Specificity::Type))
    }

    /// The quality of a media type in thousandths: that of the most specific range that includes it, and 0 if none
    /// does.
    fn quality(&self, media_type: &str) -> u16 {
        if self.0.is_empty() {
            return MAX_QUALITY;
        }
        let Some(offer) = MediaRange::parse(media_type) else { return 0 };
        let matching = self.0.iter().filter_map(|range| {
            range.specificity(&offer).map(|specificity| (specificity, range.quality))
        });
        matching.max().map_or(0, |(_, quality)| quality)
    }
}

/// How exactly a range describes a media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    /// `*/*`.
    Any,
    /// `text/*`.
    Kind,
    /// `text/csv`.
    Type,
    /// `application/json; profile=coco`.
    Profile,
}

const MAX_QUALITY: u16 = 1000;

impl MediaRange {
    /// `None` where it is malformed.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = split(text, ';').into_iter();
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let is_wildcard = |part: &str| part == "*";
        let is_valid =
            (is_token(kind) && is_token(subtype)) && (!is_wildcard(kind) || is_wildcard(subtype));
        if !is_valid {
            return None;
        }
        let (kind, subtype) = (kind.to_ascii_lowercase(), subtype.to_ascii_lowercase());
        let mut range = Self { kind, subtype, profile: None, quality: MAX_QUALITY };
        for parameter in parts {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("q") {
                range.quality = quality(value)?;
            } else if name.eq_ignore_ascii_case("profile") {
                range.profile = Some(value.to_ascii_lowercase());
            }
        }
        Some(range)
    }

    /// How exactly this describes `offer`; `None` where it does not include it.
    fn specificity(&self, offer: &Self) -> Option<Specificity> {
        let is_kind = self.kind == offer.kind;
        match (self.kind.as_str(), self.subtype.as_str(), &self.profile) {
            ("*", "*", None) => Some(Specificity::Any),
            (_, "*", None) => is_kind.then_some(Specificity::Kind),
            (_, subtype, profile) if is_kind && subtype == offer.subtype => match profile {
                None => Some(Specificity::Type),
                profile => (*profile == offer.profile).then_some(Specificity::Profile),
            },
            _ => None,
        }
    }
}

/// From `0` to `1`, in thousandths.
fn quality(text: &str) -> Option<u16> {
    let quality: f32 = text.parse().ok()?;
    let is_valid = (0.0..=1.0).contains(&quality);
    is_valid.then(|| (quality * f32::from(MAX_QUALITY)).round() as u16)
}

/// Whether `text` is a token of RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_of_token)
}

/// The parts between separators that are not in a quoted string, without spaces around them.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(move |character| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        match character {
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => return character == separator && !is_quoted,
        }
        false
    });
    parts.map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;

    use super::*;

    const OFFERS: [(&str, &str); 6] = [
        ("json", "application/json"),
        ("coco", "application/json; profile=coco"),
        ("csv", "text/csv"),
        ("plain", "text/plain"),
        ("xml", "application/xml"),
        ("xml", "text/xml"),
    ];

    fn accept(values: &[&[u8]]) -> Accept {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT, HeaderValue::from_bytes(value).unwrap());
        }
        Accept::of(&headers)
    }

    #[test]
    fn the_preferred_representation_is_chosen() {
        let cases = [
            ("*/*", Some("json")),
            ("", Some("json")),
            ("application/json", Some("json")),
            ("Application/JSON; charset=utf-8", Some("json")),
            ("application/*", Some("json")),
            ("application/json; profile=coco", Some("coco")),
            ("application/json;PROFILE=\"COCO\";q=0.5, text/csv;q=0.4", Some("coco")),
            ("application/json;profile=coco, application/json;q=0.9", Some("coco")),
            ("application/json;profile=coco;q=0.8, application/json;q=0.9", Some("json")),
            ("application/json;profile=other", None),
            ("application/*;profile=coco", None),
            ("text/csv", Some("csv")),
            ("text/*", Some("csv")),
            ("text/*, text/csv;q=0.5", Some("plain")),
            ("text/plain, text/csv", Some("csv")),
            ("text/plain;q=1.0, text/csv;q=0.999", Some("plain")),
            ("text/xml", Some("xml")),
            ("application/xml", Some("xml")),
            ("application/json;q=0, */*;q=0.1", Some("csv")),
            ("application/json;q=0, application/json;profile=coco;q=.2, */*;q=.1", Some("coco")),
            ("*/*;q=0", None),
            ("image/png", None),
            ("text/html, image/gif, *; q=.2, */*; q=.2", Some("json")),
            ("application/json, text/plain, */*", Some("json")),
            // A comma and a semicolon in a quoted string.
            ("text/csv;x=\"a, application/json;\\\"\"", Some("csv")),
            // Malformed ranges are ignored.
            ("json", Some("json")),
            ("text/csv, /, a/b/c, */csv, text/plain;q=2, text/plain;q=x", Some("csv")),
            ("text/csv;q=nan, text/xml", Some("xml")),
            (",,;;=,\"", Some("json")),
        ];
        for (header, expected) in cases {
            assert_eq!(accept(&[header.as_bytes()]).prefer(&OFFERS), expected, "{header}");
        }
        assert_eq!(accept(&[]).prefer(&OFFERS), Some("json"));
        assert_eq!(accept(&[b"image/png", b"text/csv"]).prefer(&OFFERS), Some("csv"));
        assert_eq!(accept(&[b"\xff\xfe, text/csv"]).prefer(&OFFERS), Some("csv"));
    }

    #[test]
    fn a_wildcard_names_nothing() {
        let browser = accept(&[b"text/html,application/xml;q=0.9,*/*;q=0.8"]);
        assert!(browser.names("text/html") && browser.names("application/xml"));
        assert!(!browser.names("text/csv") && !accept(&[]).names("text/html"));
    }
}
