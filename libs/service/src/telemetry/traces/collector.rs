//! Exports spans to a collector: OTLP over HTTP, with the HTTP client that the workspace uses anyway.
//!
//! The exporter runs on a thread of its own, neither in the async runtime nor in a slot, so a slow collector
//! delays nothing. While the collector does not answer, spans wait in a queue of 2048; when the queue is
//! full, they are dropped.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, Uri,
    body::Bytes,
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig,
};
use tokio::{net::TcpStream, runtime::Handle, time::timeout};

use super::ExportSettings;

/// Maximum size of a collector's response, in bytes.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// The exporter of spans. `runtime` runs its connections.
pub(super) fn exporter(
    settings: &ExportSettings,
    runtime: Handle,
) -> Result<SpanExporter, ExporterBuildError> {
    let client = Client { runtime, timeout: settings.timeout, is_failing: AtomicBool::new(false) };
    let headers = settings.headers.iter();
    let headers = headers.map(|(name, value)| (name.clone(), value.expose().to_owned()));
    SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(settings.endpoint.url())
        .with_headers(headers.collect())
        .with_timeout(settings.timeout)
        .build()
}

#[derive(Debug)]
struct Client {
    runtime: Handle,
    /// Timeout of one export, from the connection to the end of the response.
    timeout: Duration,
    /// An outage is logged twice, at its start and at its end.
    is_failing: AtomicBool,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let limit = self.timeout;
        // The exporter's thread has no async runtime: the request runs in the service's.
        let sending = self.runtime.spawn(async move { timeout(limit, send(request)).await });
        let outcome = match sending.await? {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {limit:?}").into()),
        };
        self.log(&outcome);
        outcome
    }
}

impl Client {
    fn log(&self, outcome: &Result<Response<Bytes>, HttpError>) {
        let problem = match outcome {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        let was_failing = self.is_failing.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !was_failing => {
                tracing::warn!(problem, "traces do not reach their collector; they are dropped");
            }
            None if was_failing => tracing::info!("traces reach their collector again"),
            _ => {}
        }
    }
}

/// Sends one request on a connection of its own: there is one every few seconds.
async fn send(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().ok_or("the collector's address names no host")?.clone();
    let address = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the response: dropping the sender closes the connection.
    tokio::spawn(connection);
    parts.headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
    parts.uri = parts.uri.path_and_query().map_or_else(Uri::default, |path| path.clone().into());
    let answer = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await.map_err(io::Error::other)?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
