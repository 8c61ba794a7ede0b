//! The requests.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request,
    client::conn::http1,
    header::{
        ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, HOST, HeaderValue, LOCATION, USER_AGENT,
    },
};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use url::Host;

use crate::{
    Roots, Target, UrlRules,
    connect::connect,
    error::RequestError,
    hosts::Hosts,
    resolver::{Resolver, SystemResolver},
    response::Response,
    tls::Tls,
};

/// How many redirects are followed.
const MOST_REDIRECTS: usize = 3;
/// The longest header of an answer, in bytes.
const LONGEST_HEADER: usize = 16 * 1024;
/// The most lines of a header.
const MOST_HEADERS: usize = 100;
/// How much of an answer is buffered, in bytes.
const BUFFER: usize = 64 * 1024;

const NO_HTTP: RequestError = RequestError::Unreachable("its server does not speak HTTP");

/// Limits of time and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// To resolve a name, connect, and agree on TLS.
    pub connect: Duration,
    /// From then on to the end of the answer's header.
    pub header: Duration,
    /// For all of it, with redirects and the answer's body.
    pub total: Duration,
    /// Requests in progress at one time.
    pub requests: usize,
    /// The same to one host.
    pub requests_per_host: usize,
}

/// Requests URLs that clients name. Cheap to clone; clones share their limits.
///
/// It uses no proxy, keeps no connection and no cookie, and sends no header that its caller did not name except for
/// `Host`, `User-Agent`, `Accept-Encoding` and `Connection`.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    rules: UrlRules,
    limits: Limits,
    resolver: Box<dyn Resolver>,
    tls: Tls,
    hosts: Arc<Hosts>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { rules, limits, .. } = &*self.0;
        f.debug_struct("Client").field("rules", rules).field("limits", limits).finish()
    }
}

impl Client {
    /// A client that resolves names as the system does.
    #[must_use]
    pub fn new(rules: UrlRules, limits: Limits, roots: Roots) -> Self {
        Self::with_resolver(rules, limits, roots, SystemResolver::default())
    }

    /// A client with another resolver.
    #[must_use]
    pub fn with_resolver(
        rules: UrlRules,
        limits: Limits,
        roots: Roots,
        resolver: impl Resolver,
    ) -> Self {
        Self(Arc::new(Inner {
            rules,
            limits,
            resolver: Box::new(resolver),
            tls: Tls::new(roots),
            hosts: Hosts::new(limits.requests, limits.requests_per_host),
        }))
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &UrlRules {
        &self.0.rules
    }

    /// How many requests are in progress.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.0.hosts.in_progress()
    }

    /// Requests `target` with `headers`, and follows redirects, each of which takes the same checks. The status of the
    /// answer is 200, and its body is not compressed.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn get(&self, target: Target, headers: &HeaderMap) -> Result<Response, RequestError> {
        let deadline = Instant::now() + self.0.limits.total;
        let following = self.follow(target, headers, deadline);
        timeout_at(deadline, following).await.map_err(|_| RequestError::TimedOut)?
    }

    async fn follow(
        &self,
        mut target: Target,
        headers: &HeaderMap,
        deadline: Instant,
    ) -> Result<Response, RequestError> {
        for _ in 0..=MOST_REDIRECTS {
            let request = request(&target, Method::GET, headers, Bytes::new());
            let response = self.0.send(&target, request, deadline).await?;
            match response.status() {
                200 if is_encoded(response.headers()) => return Err(RequestError::Encoded),
                200 => return Ok(response),
                301 | 302 | 303 | 307 | 308 => {
                    target = self.redirected(&target, response.headers())?;
                }
                status => return Err(RequestError::Status(status)),
            }
        }
        Err(RequestError::TooManyRedirects(MOST_REDIRECTS))
    }

    /// Sends `body` to `target` with `headers`. The status may be any; redirects are not followed.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn post(
        &self,
        target: &Target,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, RequestError> {
        let deadline = Instant::now() + self.0.limits.total;
        let request = request(target, Method::POST, headers, body);
        let sending = self.0.send(target, request, deadline);
        timeout_at(deadline, sending).await.map_err(|_| RequestError::TimedOut)?
    }

    /// Where an answer to `target` redirects to.
    fn redirected(&self, target: &Target, headers: &HeaderMap) -> Result<Target, RequestError> {
        let location =
            headers.get(LOCATION).and_then(|value| str::from_utf8(value.as_bytes()).ok());
        let location = location.ok_or(RequestError::NoLocation)?;
        let url = target.url().join(location).map_err(|_| RequestError::NoLocation)?;
        self.0.rules.check(url.as_str()).map_err(RequestError::of_redirect)
    }
}

impl Inner {
    /// Sends one request.
    async fn send(
        &self,
        target: &Target,
        request: Result<Request<Full<Bytes>>, RequestError>,
        deadline: Instant,
    ) -> Result<Response, RequestError> {
        let request = request?;
        let permit = self.hosts.acquire(&key(target)).ok_or(RequestError::Busy)?;
        let Limits { connect: connect_timeout, header, .. } = self.limits;
        let connecting = connect(target, &self.rules, &*self.resolver, &self.tls, connect_timeout);
        let connection = timeout(connect_timeout, connecting).await;
        let connection = connection.map_err(|_| RequestError::TimedOut)??;
        let answering = async {
            let handshake = http1::Builder::new()
                .max_buf_size(BUFFER)
                .max_header_size(LONGEST_HEADER)
                .max_headers(MOST_HEADERS)
                .handshake(TokioIo::new(connection));
            let (mut sender, connection) = handshake.await.map_err(|_| NO_HTTP)?;
            let connection = AbortOnDropHandle::new(tokio::spawn(async move {
                // The answer's body reports how the connection ended.
                let _ = connection.await;
            }));
            let answer = sender.send_request(request).await.map_err(|_| NO_HTTP)?;
            Ok::<_, RequestError>((answer, connection))
        };
        let answered = timeout(header, answering).await;
        let (answer, connection) = answered.map_err(|_| RequestError::TimedOut)??;
        let (head, body) = answer.into_parts();
        let url = target.url().clone();
        Ok(Response { head, url, body, deadline, _connection: connection, _permit: permit })
    }
}

/// What the requests of a host are counted under.
fn key(target: &Target) -> String {
    match target.host() {
        Host::Domain(name) => name.trim_end_matches('.').to_owned(),
        host => host.to_string(),
    }
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|coding| coding != "identity" && !coding.is_empty())
}

fn request(
    target: &Target,
    method: Method,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, RequestError> {
    let request = Request::builder().method(method).uri(target.path_and_query());
    let mut request = request.body(Full::new(body)).map_err(|_| NO_HTTP)?;
    let host = HeaderValue::from_str(target.authority()).map_err(|_| NO_HTTP)?;
    let own = [
        (HOST, host),
        (USER_AGENT, HeaderValue::from_static(concat!("spotter/", env!("CARGO_PKG_VERSION")))),
        (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        (CONNECTION, HeaderValue::from_static("close")),
    ];
    request.headers_mut().extend(headers.clone());
    request.headers_mut().extend(own);
    Ok(request)
}
