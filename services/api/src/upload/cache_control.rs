//! What a client wants to do with results that are kept: header `Cache-Control` of a submission.

use poem::http::{HeaderMap, header};

/// The two directives of RFC 9111 (section 5.2.1) that mean something here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CacheControl {
    /// `no-cache`: no earlier result is to be given.
    pub(crate) no_cache: bool,
    /// `no-store`: that neither, and the result is not to be kept for others.
    pub(crate) no_store: bool,
}

impl CacheControl {
    /// Reads it from a request. What is not understood means nothing, as the RFC has it.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::CACHE_CONTROL).into_iter();
        let mut control = Self::default();
        for value in values.filter_map(|value| value.to_str().ok()) {
            for directive in value.split(',').map(str::trim) {
                control.no_cache |= directive.eq_ignore_ascii_case("no-cache");
                control.no_store |= directive.eq_ignore_ascii_case("no-store");
            }
        }
        control
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_found_wherever_they_stand() {
        let cases: [(&[&str], bool, bool); 6] = [
            (&[], false, false),
            (&["max-age=0, private"], false, false),
            (&["no-cache"], true, false),
            (&["max-age=0,No-Store"], false, true),
            (&["no-cache , no-store"], true, true),
            (&["x", "no-cache"], true, false),
        ];
        for (values, no_cache, no_store) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CACHE_CONTROL, value.parse().unwrap());
            }
            assert_eq!(CacheControl::of(&headers), CacheControl { no_cache, no_store });
        }
    }
}
