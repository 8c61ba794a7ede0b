//! Delivering spans to a collector: OTLP over HTTP, by the HTTP client that the workspace has anyway.
//!
//! The exporter works on a thread of its own, which is neither the async runtime nor a slot: what is
//! slow here holds nobody up. While the collector does not answer, spans wait for it in a queue of
//! 2048 and are dropped when that is full.

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

/// The longest answer that is read; a collector has little to say.
const LONGEST_ANSWER: usize = 64 * 1024;

/// What hands spans to the collector. `runtime` is where its connections live.
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
    /// The longest one delivery may take, from the connection to the end of the answer.
    timeout: Duration,
    /// So that an outage is told twice, at its beginning and at its end.
    is_failing: AtomicBool,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let patience = self.timeout;
        // The exporter's thread knows no reactor: the runtime does the talking, and the waiting.
        let sending = self.runtime.spawn(async move { timeout(patience, send(request)).await });
        let outcome = match sending.await? {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {patience:?}").into()),
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

/// One request on a connection of its own: there is one every few seconds.
async fn send(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().ok_or("the collector's address names no host")?.clone();
    let address = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer: dropping the sender closes the connection.
    tokio::spawn(connection);
    parts.headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
    parts.uri = parts.uri.path_and_query().map_or_else(Uri::default, |path| path.clone().into());
    let answer = sender.send_request(Request::from_parts(parts, Full::new(body))).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, LONGEST_ANSWER).collect().await.map_err(io::Error::other)?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
