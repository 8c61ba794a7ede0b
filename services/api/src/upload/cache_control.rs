//! The header `Cache-Control` of a submission: whether its result may come from the response cache and go
//! into it.

use poem::http::{HeaderMap, header};

/// The two directives of RFC 9111 (section 5.2.1) that apply here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CacheControl {
    /// `no-cache`: run the model, whatever is cached.
    pub(crate) no_cache: bool,
    /// `no-store`: the same, and do not cache the result.
    pub(crate) no_store: bool,
}

impl CacheControl {
    /// Parses the headers of a request. Unknown directives are ignored, as the RFC requires.
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
