//! Health and metrics over HTTP, for processes that serve nothing else.
//!
//! The three probes have the meaning that Kubernetes gives them: the process has started, it needs no
//! restart, it can take work.

pub mod healthcheck;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::telemetry::metrics::{self, Metrics};

/// Timeout of a whole connection, which carries one small request and response.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of open connections. Probes come one at a time.
const MAX_CONNECTIONS: usize = 64;
/// Maximum size of the request line and headers; beyond it 431.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// A health check of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// `/health/startup`: the process has started, and the other two probes apply.
    Startup,
    /// `/health/live`: the process needs no restart.
    Live,
    /// `/health/ready`: the process can take work.
    Ready,
}

/// The health of a process, as probes report it.
pub trait HealthSource: Send + Sync + 'static {
    /// Answers `probe` without blocking.
    ///
    /// # Errors
    /// The reason why the probe fails, in words for operators.
    fn check(&self, probe: Probe) -> Result<(), String>;
}

/// `PROBES_ADDRESS` cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("PROBES_ADDRESS: cannot listen on {address}: {source}")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

impl ListenError {
    /// Whether another process holds the address, which it may release.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// Listens at `address` for probes.
///
/// # Errors
/// [`ListenError`].
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let cannot = |source| ListenError { address, source };
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    tracing::info!(address = %listener.local_addr().map_err(cannot)?, "serving probes");
    Ok(listener)
}

/// Serves `/health/startup`, `/health/live`, `/health/ready` and `/metrics` until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    health: Arc<dyn HealthSource>,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                let (health, metrics) = (Arc::clone(&health), metrics.clone());
                connections.spawn(serve_connection(stream, health, metrics));
            }
            Ok(_) => {}
            // Most likely out of file descriptors: an immediate retry would only burn CPU.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a probe's connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, health: Arc<dyn HealthSource>, metrics: Metrics) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &*health, &metrics);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut server = http1::Builder::new();
    server.header_read_timeout(None).keep_alive(false).max_header_size(MAX_HEADER_BYTES);
    // A client such as `nc -N` closes its sending side and waits for the response.
    server.half_close(true);
    let served = server.serve_connection(TokioIo::new(stream), service);
    // An error is a client that disconnected, did not speak HTTP, or was too slow. Slow clients must not use
    // up the connections that probes need.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
}

fn answer(
    request: &Request<Incoming>,
    health: &dyn HealthSource,
    metrics: &Metrics,
) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
    }
    let probe = match request.uri().path() {
        "/health/startup" => Probe::Startup,
        "/health/live" => Probe::Live,
        "/health/ready" => Probe::Ready,
        "/metrics" => {
            return match metrics.render() {
                Ok(rendered) => text(StatusCode::OK, rendered),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            };
        }
        _ => {
            let routes = "/health/startup, /health/live, /health/ready, /metrics\n";
            return text(StatusCode::NOT_FOUND, routes.to_owned());
        }
    };
    match health.check(probe) {
        Ok(()) => text(StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let media_type = header::HeaderValue::from_static(metrics::CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Starting;

    impl HealthSource for Starting {
        fn check(&self, probe: Probe) -> Result<(), String> {
            match probe {
                Probe::Live => Ok(()),
                Probe::Startup | Probe::Ready => Err("the model is being loaded".to_owned()),
            }
        }
    }

    async fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn each_probe_has_its_own_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let metrics = Metrics::new().unwrap();
        metrics.meter().u64_counter("spotter_probed").build().add(1, &[]);
        let server = tokio::spawn(serve(listener, Arc::new(Starting), metrics, shutdown.clone()));
        let cases = [
            ("/health/live", "HTTP/1.1 200 ", "ok"),
            ("/health/ready", "HTTP/1.1 503 ", "the model is being loaded"),
            ("/health/startup", "HTTP/1.1 503 ", "the model is being loaded"),
            ("/metrics", "HTTP/1.1 200 ", "spotter_probed_total"),
            ("/", "HTTP/1.1 404 ", "/health/ready"),
        ];
        for (path, status, text) in cases {
            let answer = ask(address, path).await;
            assert!(answer.starts_with(status) && answer.contains(text), "{path}: {answer}");
        }
        shutdown.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn connections_that_take_too_long_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let metrics = Metrics::new().unwrap();
        let server = tokio::spawn(serve(listener, Arc::new(Starting), metrics, shutdown.clone()));
        let mut slow = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /health/live HTTP/1.1\r\nX: ").await.unwrap();
            slow.push(stream);
        }
        let started = tokio::time::Instant::now();
        for mut stream in slow {
            let dripping = async {
                while stream.write_all(b"a").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            tokio::time::timeout(CONNECTION_TIMEOUT * 6, dripping)
                .await
                .expect("the server closes it");
        }
        // One after another they would take this long.
        let all = CONNECTION_TIMEOUT * MAX_CONNECTIONS as u32;
        assert!(started.elapsed() < all / 2, "{:?}", started.elapsed());
        assert!(ask(address, "/health/live").await.starts_with("HTTP/1.1 200 "));
        shutdown.cancel();
        server.await.unwrap();
    }
}
