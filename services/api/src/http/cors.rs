//! Requests from pages of other origins: which of them a browser lets read the responses (CORS, WHATWG Fetch).
//!
//! Not by the framework's middleware, which answers every request with another `Origin` with an error. A browser also
//! sends that header with requests of the API's own pages.

use std::str::FromStr;

use poem::{
    Request, Response,
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
};

/// Request headers that the routes read, besides those that every page may send.
const REQUEST_HEADERS: &str = "authorization, cache-control, content-disposition, content-type, idempotency-key, \
     if-none-match, inference-header-content-length, last-event-id, prefer, x-api-key";

/// Response headers that a page may read, besides those that every page may.
const RESPONSE_HEADERS: &str = "etag, inference-header-content-length, link, location, preference-applied, ratelimit, ratelimit-policy, retry-after";

/// How long a browser remembers the answer to a preflight, in seconds. Browsers limit it to 2 hours or less.
const MAX_AGE_SECONDS: &str = "7200";

/// The origins whose pages may read responses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// The API's own.
    #[default]
    Own,
    /// These, such as `https://app.example.com`.
    These(Vec<HeaderValue>),
    /// All: every page that a user opens who can reach the API.
    All,
}

/// A text that is no list of origins.
#[derive(Debug, thiserror::Error)]
#[error(
    "'{0}' is not an origin: expected scheme, host and port, such as https://app.example.com or \
     http://localhost:8080, separated by commas, or * for all origins"
)]
pub struct InvalidOrigin(String);

impl FromStr for AllowedOrigins {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "*" {
            return Ok(Self::All);
        }
        text.split(',')
            .map(|origin| origin_of(origin.trim()))
            .collect::<Result<_, _>>()
            .map(Self::These)
    }
}

/// An origin as browsers write it: without a path, and without the scheme's own port.
fn origin_of(text: &str) -> Result<HeaderValue, InvalidOrigin> {
    let invalid = || InvalidOrigin(text.chars().take(64).collect());
    let (scheme, authority) = text.split_once("://").ok_or_else(invalid)?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return Err(invalid()),
    };
    if authority.is_empty() || !authority.bytes().all(is_host) || authority.ends_with(own_port) {
        return Err(invalid());
    }
    HeaderValue::from_str(&text.to_ascii_lowercase()).map_err(|_| invalid())
}

/// The origin that a request comes from, and whether its page may read the response.
pub(crate) struct CrossOrigin {
    /// The value of `Access-Control-Allow-Origin`.
    allowed: Option<HeaderValue>,
    /// Whether the request is a preflight, which asks what the page may send.
    is_preflight: bool,
    /// Whether responses differ by origin.
    varies: bool,
}

impl CrossOrigin {
    pub(crate) fn of(request: &Request, origins: &AllowedOrigins) -> Self {
        let origin = request.headers().get(header::ORIGIN);
        let allowed = match origins {
            AllowedOrigins::Own => None,
            AllowedOrigins::These(these) => origin.filter(|origin| these.contains(origin)).cloned(),
            AllowedOrigins::All => origin.map(|_| HeaderValue::from_static("*")),
        };
        let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        Self {
            allowed,
            is_preflight: *request.method() == Method::OPTIONS && asks,
            varies: matches!(origins, AllowedOrigins::These(_)),
        }
    }

    /// Adds the headers by which the browser decides.
    pub(crate) fn allow(self, mut answer: Response) -> Response {
        let headers = answer.headers_mut();
        if self.varies {
            // Beside what the route has set.
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = self.allowed else { return answer };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.is_preflight {
            allow_requests(headers);
        } else {
            let exposed = HeaderValue::from_static(RESPONSE_HEADERS);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        answer
    }
}

/// Allows the methods of the path, which the response to `OPTIONS` lists.
fn allow_requests(headers: &mut HeaderMap) {
    let Some(methods) = headers.get(header::ALLOW).cloned() else { return };
    let own: [(HeaderName, HeaderValue); 3] = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS)),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_SECONDS)),
    ];
    headers.extend(own);
}

/// Whether a page of another origin has the browser send this request, which is none of `origins` by name. A page that
/// may be anybody's (`*`) counts as another's. Programs send neither of these headers.
pub(crate) fn is_foreign(headers: &HeaderMap, origins: &AllowedOrigins) -> bool {
    let origin = headers.get(header::ORIGIN);
    if let (Some(origin), AllowedOrigins::These(these)) = (origin, origins)
        && these.contains(origin)
    {
        return false;
    }
    match headers.get("sec-fetch-site") {
        Some(site) => site != "same-origin" && site != "none",
        // Browsers send it where the address is https or loopback only, and `Origin` with every request that changes something.
        None => origin.is_some_and(|origin| !is_own(origin, headers)),
    }
}

/// Whether `origin` is that of the host that the request is for.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    authority.zip(host).is_some_and(|((_, authority), host)| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_foreign_if_a_page_of_another_origin_sends_it() {
        let these: AllowedOrigins = "https://a.example".parse().unwrap();
        let own = &[("host", "spotter.example")][..];
        let cases = [
            (own, false),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://spotter.example")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-site"), ("origin", "https://b.spotter.example")], true),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://a.example")], false),
            (&[("origin", "https://a.example")], false),
            (&[("origin", "https://b.example")], true),
            (&[("origin", "null")], true),
            (&[("origin", "https://spotter.example"), ("host", "spotter.example")], false),
            (&[("origin", "http://Spotter.example:5000"), ("host", "spotter.example:5000")], false),
            (&[("origin", "http://spotter.example:81"), ("host", "spotter.example:5000")], true),
        ];
        for (sent, expected) in cases {
            let headers: HeaderMap = sent
                .iter()
                .map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_static(value))
                })
                .collect();
            assert_eq!(is_foreign(&headers, &these), expected, "{sent:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_static("https://a.example"));
        assert!(is_foreign(&headers, &AllowedOrigins::All), "it may be anybody's page");
        assert!(is_foreign(&headers, &AllowedOrigins::Own));
    }

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        let read = |text: &str| text.parse::<AllowedOrigins>();
        assert_eq!(read(" * ").unwrap(), AllowedOrigins::All);
        let these =
            read("https://App.example.com, http://localhost:8080,http://[::1]:3000").unwrap();
        let expected = ["https://app.example.com", "http://localhost:8080", "http://[::1]:3000"];
        assert_eq!(these, AllowedOrigins::These(expected.map(HeaderValue::from_static).to_vec()));
        for wrong in [
            "",
            "app.example.com",
            "https://",
            "https://a.example/",
            "https://a.example/path",
            "https://user@a.example",
            "https://a.example:443",
            "http://a.example:80",
            "https://*.example.com",
            "*, https://a.example",
            "https://a.example,",
            "null",
            "chrome-extension://abc",
        ] {
            assert!(read(wrong).is_err(), "{wrong:?} is no list of origins");
        }
    }
}
