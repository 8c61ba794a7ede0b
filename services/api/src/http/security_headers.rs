//! Headers that keep a browser from doing more with an answer than it is meant for.
//!
//! The values are those of OWASP's REST Security Cheat Sheet. `Strict-Transport-Security` is not among
//! them: it is for whoever ends TLS to promise, and this server never does.

use poem::{
    Response,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};

/// Set where the route has not set its own.
const DEFAULTS: [(HeaderName, &str); 2] = [
    // JSON and text: nothing in them is to be loaded, run or framed.
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    // A task changes, and its result is its client's own.
    (header::CACHE_CONTROL, "no-store"),
];

/// Set on every answer.
const ALWAYS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // What `frame-ancestors` says, to browsers that do not know it.
    (header::X_FRAME_OPTIONS, "DENY"),
    // A task's id is in its address, and whoever knows it may read its result.
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// `answer` with these headers.
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
    fn what_a_route_has_set_itself_stays_as_far_as_it_may() {
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
