//! The header `Retry-After` of HTTP.

use std::time::Duration;

use time::{OffsetDateTime, format_description::well_known::Rfc2822};

/// How long to wait from `now` on: the header has seconds, or an HTTP date (RFC 9110, section 10.2.3), as proxies in front
/// of a server may send it. `None` for another text.
#[must_use]
pub fn retry_after(text: &str, now: OffsetDateTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    // Negative for a date in the past.
    Some((date - now).try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_seconds_or_a_date() {
        let now = time::macros::datetime!(1994-11-06 08:48:37 UTC);
        let cases = [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}
