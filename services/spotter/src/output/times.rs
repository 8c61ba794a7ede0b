//! Times for people.

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// RFC 3339 in UTC, without fractions of a second.
pub(crate) fn to_second(time: OffsetDateTime) -> String {
    let second = time.to_offset(UtcOffset::UTC).truncate_to_second();
    second.format(&Rfc3339).unwrap_or_else(|_| second.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_utc_and_has_no_fractions() {
        let time = OffsetDateTime::parse("2026-01-01T00:30:00.987+02:00", &Rfc3339).unwrap();
        assert_eq!(to_second(time), "2025-12-31T22:30:00Z");
    }
}
