//! Observes each request: its duration as a metric and, if tracing is on, its span.

use std::{sync::Arc, time::Instant};

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter},
    propagation::Extractor,
    trace::{SpanBuilder, SpanKind},
};
use poem::{
    Endpoint, EndpointExt, Request, Response,
    http::{HeaderMap, uri::Authority},
};
use service::telemetry::traces::{Span, TraceContext};

use super::route_table::RouteTable;

/// Histogram buckets in seconds: those of OpenTelemetry's conventions, and two for requests that wait for a
/// result.
const BUCKETS: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0];

/// Methods with a label of their own; for any other, a client would choose the label.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];

/// Observes each request to `app` except probes and scrapes, which would outnumber the others.
pub(crate) fn observed(
    app: impl Endpoint<Output = Response> + 'static,
    routes: Arc<RouteTable>,
    meter: Meter,
) -> impl Endpoint<Output = Response> {
    let durations = meter
        .f64_histogram("http.server.request.duration")
        .with_description("Duration of requests, by method, route and status.")
        .with_unit("s")
        .with_boundaries(BUCKETS.to_vec())
        .build();
    app.around(move |app, request| {
        let (app, routes, durations) = (Arc::clone(&app), Arc::clone(&routes), durations.clone());
        async move {
            match Observation::of(&request, &routes) {
                Some(observation) => observation.follow(app.call(request), &durations).await,
                None => app.call(request).await,
            }
        }
    })
}

/// One request, from its header on.
struct Observation {
    started: Instant,
    method: &'static str,
    route: Option<Arc<str>>,
    span: Span,
}

impl Observation {
    fn of(request: &Request, routes: &RouteTable) -> Option<Self> {
        let path = request.uri().path();
        if path == "/metrics" || path.starts_with("/health/") {
            return None;
        }
        let asked = request.method().as_str();
        let method = METHODS.into_iter().find(|known| *known == asked).unwrap_or("_OTHER");
        let route = routes.template(path);
        let describe = || describe(request, method, route.as_ref());
        let span = TraceContext::extract(&Headers(request.headers())).span(describe);
        Some(Self { started: Instant::now(), method, route, span })
    }

    async fn follow(
        self,
        answering: impl Future<Output = poem::Result<Response>>,
        durations: &Histogram<f64>,
    ) -> poem::Result<Response> {
        let outcome = self.span.around(answering).await;
        let status = match &outcome {
            Ok(answer) => answer.status(),
            Err(error) => error.status(),
        };
        let code = i64::from(status.as_u16());
        self.span.set(|| [KeyValue::new("http.response.status_code", code)]);
        if status.is_server_error() {
            self.span.fail(status.as_str().to_owned(), || {
                status.canonical_reason().unwrap_or_default().to_owned()
            });
        }
        let labels = [
            KeyValue::new("http.request.method", self.method),
            KeyValue::new("http.response.status_code", code),
            // A path without a route has no label: clients can send any path.
            KeyValue::new("http.route", self.route.unwrap_or_else(|| "".into())),
        ];
        durations.record(self.started.elapsed().as_secs_f64(), &labels);
        outcome
    }
}

/// A server span by OpenTelemetry's conventions for HTTP.
fn describe(request: &Request, method: &'static str, route: Option<&Arc<str>>) -> SpanBuilder {
    let header = |name: &str| request.header(name).map(str::to_owned);
    let name = match route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    };
    let mut attributes = vec![
        KeyValue::new("http.request.method", method),
        KeyValue::new("url.path", request.uri().path().to_owned()),
        KeyValue::new("url.scheme", "http"),
    ];
    attributes.extend(route.map(|route| KeyValue::new("http.route", Arc::clone(route))));
    if let Some(host) = header("host").and_then(|host| host.parse::<Authority>().ok()) {
        let name = host.host().trim_matches(['[', ']']);
        attributes.push(KeyValue::new("server.address", name.to_owned()));
        let port = host.port_u16().map(i64::from);
        attributes.extend(port.map(|port| KeyValue::new("server.port", port)));
    }
    attributes
        .extend(header("user-agent").map(|agent| KeyValue::new("user_agent.original", agent)));
    let size = header("content-length").and_then(|length| length.parse::<i64>().ok());
    attributes.extend(size.map(|size| KeyValue::new("http.request.body.size", size)));
    SpanBuilder::from_name(name).with_kind(SpanKind::Server).with_attributes(attributes)
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(poem::http::HeaderName::as_str).collect()
    }
}
