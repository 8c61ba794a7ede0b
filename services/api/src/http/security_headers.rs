//! Headers that restrict what a browser does with a response.
//!
//! The values are those of OWASP's REST Security Cheat Sheet. `Strict-Transport-Security` is not among them:
//! the proxy that terminates TLS has to set it, and this server does not.

use poem::{
    Response,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};

/// Set unless the route has set the header.
const DEFAULTS: [(HeaderName, &str); 2] = [
    // JSON and text: a browser must not load, run or frame anything in them.
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    // A task changes, and its result belongs to its client only.
    (header::CACHE_CONTROL, "no-store"),
];

/// Set on every response.
const ALWAYS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // The same as `frame-ancestors`, for old browsers.
    (header::X_FRAME_OPTIONS, "DENY"),
    // A task's id is part of its URL, and without API keys everybody who knows it can read the result.
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Adds these headers to `answer`.
pub(crate) fn protect(mut answer: Response) -> Response {
    let headers: &mut HeaderMap = answer.headers_mut();
    for (name, value) in DEFAULTS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use poem::IntoResponse;

    use super::*;

    #[test]
    fn headers_that_a_route_has_set_stay_except_the_mandatory_ones() {
        let own = "x"
            .with_header(header::CACHE_CONTROL, "max-age=5")
            .with_header(header::X_FRAME_OPTIONS, "SAMEORIGIN")
            .into_response();
        let answer = protect(own);
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "max-age=5");
        assert_eq!(answer.headers()[header::X_FRAME_OPTIONS], "DENY");
        let policy = &answer.headers()[header::CONTENT_SECURITY_POLICY];
        assert!(policy.to_str().unwrap().starts_with("default-src 'none'"));
    }
}
