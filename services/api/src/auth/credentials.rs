//! The key that a request presents: `Authorization: Bearer …` (RFC 6750) or `X-API-Key: …`.

use domain::PresentedKey;
use poem::http::{HeaderMap, HeaderName, HeaderValue, header};

/// The other header that a key may be in.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Why a request presents no key that could be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// There is none.
    Absent,
    /// There is something in its place that is none, or more than one.
    Malformed,
}

/// The key that these headers present. Credentials of another scheme than Bearer are none: a proxy in front may have
/// its own.
pub(crate) fn presented(headers: &HeaderMap) -> Result<PresentedKey, NoKey> {
    let of_bearer = headers.get_all(header::AUTHORIZATION).iter().filter_map(bearer);
    let of_own = headers.get_all(X_API_KEY).iter().map(HeaderValue::as_bytes);
    let mut all = of_bearer.chain(of_own);
    let first = all.next().ok_or(NoKey::Absent)?;
    // Which of two keys counts would be a guess, here and in a proxy.
    if all.next().is_some() {
        return Err(NoKey::Malformed);
    }
    let text = std::str::from_utf8(first).map_err(|_| NoKey::Malformed)?;
    PresentedKey::parse(text.trim_matches([' ', '\t'])).ok_or(NoKey::Malformed)
}

/// The credentials behind `Bearer`, in any case; `None` for another scheme.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let bytes = value.as_bytes().trim_ascii_start();
    let end = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
    let (scheme, rest) = bytes.split_at(end);
    scheme.eq_ignore_ascii_case(b"bearer").then_some(rest)
}

#[cfg(test)]
mod tests {
    use domain::ApiKeyToken;

    use super::*;

    fn headers(lines: &[(&'static str, Vec<u8>)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    #[test]
    fn one_key_in_either_header_is_presented() {
        let token = ApiKeyToken::from_random([7; 38]);
        let text = token.expose();
        let cases = [
            vec![("authorization", format!("Bearer {text}"))],
            vec![("authorization", format!("bEARER   {text} "))],
            vec![("x-api-key", text.to_owned())],
            vec![("x-api-key", format!(" {text}\t"))],
            // For a proxy.
            vec![("authorization", "Basic dTpw".to_owned()), ("x-api-key", text.to_owned())],
            vec![
                ("authorization", "Basic dTpw".to_owned()),
                ("authorization", format!("Bearer {text}")),
            ],
        ];
        for lines in cases {
            let lines: Vec<_> =
                lines.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
            let found = presented(&headers(&lines)).map(|key| (key.id, key.secret_sha256));
            assert_eq!(found, Ok((token.id(), token.secret_sha256())), "{lines:?}");
        }
    }

    #[test]
    fn no_key_and_no_usable_key_are_told_apart() {
        let token = ApiKeyToken::from_random([7; 38]);
        let text = token.expose().as_bytes();
        let with = |before: &[u8], after: &[u8]| [before, text, after].concat();
        let absent = [
            vec![],
            vec![("authorization", b"Basic dTpw".to_vec())],
            vec![("authorization", b"".to_vec())],
            vec![("authorization", with(b"", b""))],
            vec![("authorization", with(b"Bearer\t", b""))],
            vec![("authorization", with(b"Bearer:", b""))],
        ];
        for lines in absent {
            assert_eq!(presented(&headers(&lines)), Err(NoKey::Absent), "{lines:?}");
        }
        let malformed = [
            vec![("authorization", b"Bearer".to_vec())],
            vec![("authorization", b"Bearer ".to_vec())],
            vec![("authorization", b"Bearer \xff\xfe".to_vec())],
            vec![("authorization", with(b"Bearer ", b"\xc3\xa9"))],
            vec![("authorization", with(b"Bearer ", b", Bearer x"))],
            vec![("authorization", with(b"Bearer Bearer ", b""))],
            vec![("x-api-key", with(b"Bearer ", b""))],
            vec![("x-api-key", b"".to_vec())],
            vec![("x-api-key", b"spotter_".repeat(1000))],
            vec![("x-api-key", with(b"", b"")), ("x-api-key", with(b"", b""))],
            vec![("authorization", with(b"Bearer ", b"")), ("x-api-key", with(b"", b""))],
        ];
        for lines in malformed {
            assert_eq!(presented(&headers(&lines)), Err(NoKey::Malformed), "{lines:?}");
        }
    }
}
