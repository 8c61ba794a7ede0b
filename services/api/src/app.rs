//! The server: connects to what it needs, puts the routes together, runs until told to stop.

use std::{io, sync::Arc};

use messaging::{Messaging, MessagingError};
use poem::{
    Endpoint, EndpointExt, IntoResponse, Response, Route, Server, http::StatusCode,
    listener::TcpAcceptor, web::Json,
};
use runtime::{
    config::redact_url,
    metrics::{Metrics, MetricsError},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, breaker::Breaker, metrics::ApiMetrics, openapi, original::BaseUrl, probes::Vitals,
    result_cache::ResultCache, tasks::Tasks, upload::UploadRules,
};

/// Why the API could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// NATS is not there, or refuses.
    #[error("{0}")]
    Messaging(#[from] MessagingError),
    /// Metrics could not be set up.
    #[error("{0}")]
    Metrics(#[from] MetricsError),
    /// `REDIS_URL` is no Redis address.
    #[error("REDIS_URL: {0}")]
    Redis(#[from] redis::RedisError),
    /// The listener failed.
    #[error("the HTTP server failed: {0}")]
    Http(#[from] io::Error),
}

/// Serves the API on `listener` until `shutdown` is cancelled, then lets open requests finish.
/// `ready` is called once, when requests can be answered.
///
/// # Errors
/// [`ServeError`] if NATS cannot be reached within its time, or the listener fails.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    let messaging = Messaging::connect(config.messaging.clone()).await?;
    messaging.ensure().await?;
    let metrics = Metrics::new()?;
    let tasks = tasks(&config, &messaging, &metrics)?;
    let upload_rules = UploadRules {
        limits: config.picture_limits,
        timeout: config.upload_timeout,
        slots: Arc::new(Semaphore::new(config.max_concurrent_uploads)),
    };
    let vitals = Vitals { messaging: messaging.clone(), shutdown: shutdown.clone() };
    let app = routes()
        .data(tasks)
        .data(upload_rules)
        .data(vitals)
        .data(metrics)
        .data(BaseUrl(format!("http://{address}")));

    tracing::info!(%address, "API listening");
    ready();
    Server::new_with_acceptor(TcpAcceptor::from_tokio(listener)?)
        .run_with_graceful_shutdown(app, shutdown.cancelled_owned(), Some(config.shutdown_grace))
        .await?;
    messaging.close().await;
    tracing::info!("API stopped");
    Ok(())
}

fn tasks(config: &Config, messaging: &Messaging, metrics: &Metrics) -> Result<Tasks, ServeError> {
    let breaker = Arc::new(Breaker::default());
    let is_open = Arc::clone(&breaker);
    let metrics = ApiMetrics::new(metrics, Arc::new(move || is_open.is_open()));
    let result_ttl = config.messaging.result_ttl;
    let cache = match &config.redis_url {
        Some(url) => {
            tracing::info!(redis = redact_url(url), "finished results are cached");
            Some(ResultCache::new(url, config.redis_timeout, result_ttl, breaker, metrics.clone())?)
        }
        None => {
            tracing::warn!("REDIS_URL is not set: results are read from the bucket each time");
            None
        }
    };
    Ok(Tasks {
        queue: messaging.queue(),
        store: messaging.tasks(),
        cache,
        model: config.model.clone(),
        result_ttl,
        metrics,
    })
}

fn routes() -> impl Endpoint<Output = Response> {
    let service = openapi::service();
    let document = service.spec_endpoint();
    let swagger_ui = service.swagger_ui();
    Route::new()
        .nest("/docs", swagger_ui)
        .at("/openapi.json", document)
        .nest("/", service)
        .catch_all_error(errors_as_json)
}

/// Words the errors that no route has worded: unknown paths, wrong methods, bad parameters.
async fn errors_as_json(error: poem::Error) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let status = error.status();
    let text = match status {
        StatusCode::NOT_FOUND => "there is no such route; see / or /docs".to_owned(),
        StatusCode::METHOD_NOT_ALLOWED => {
            "this route has another method; see / or /docs".to_owned()
        }
        _ => error.to_string(),
    };
    if status.is_server_error() {
        tracing::error!(%error, "a request failed");
    }
    Json(serde_json::json!({ "error": text })).with_status(status).into_response()
}
