//! The server: connects to what it needs, puts the routes together, runs until told to stop.

use std::{io, sync::Arc};

use messaging::{Messaging, MessagingError};
use poem::{Endpoint, EndpointExt, Response, Route, get, http::Method};
use service::{
    lifecycle::exit,
    probes,
    telemetry::{
        metrics::{Metrics, MetricsError, STREAM_WRITABLE},
        traces::{Traces, TracesError},
    },
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    cache::{
        RedisCache, ResponseCache, ResultCache,
        breaker::Breaker,
        current_model::{self, CurrentModel},
    },
    http::{
        docs::{self, DocsPageError},
        fallback,
        observe::observed,
        route_table::RouteTable,
        security_headers,
        server::HttpServer,
    },
    metrics::{ApiMetrics, register_reconciliation},
    reconcile::{self, Reconciliation},
    routes::{health::ApiVitals, index::Index, openapi},
    tasks::{
        Tasks,
        backpressure::{self, Backpressure},
    },
    upload::UploadRules,
};

/// Why the API could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// NATS is not there, or refuses.
    #[error("{}", explained(.0))]
    Messaging(#[from] MessagingError),
    /// Metrics could not be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Traces cannot be exported.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// The API's document is no JSON.
    #[error("the OpenAPI document cannot be generated: {0}")]
    Document(#[from] serde_json::Error),
    /// The page that shows the API's document could not be made.
    #[error(transparent)]
    DocsPage(#[from] DocsPageError),
    /// `HOST` and `PORT` cannot be listened on.
    #[error("cannot listen on {address}: {source}; set HOST and PORT")]
    Listen {
        /// Host and port.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// `PROBES_ADDRESS` cannot be listened on.
    #[error(transparent)]
    Probes(#[from] probes::ListenError),
    /// The listener failed.
    #[error("the HTTP server failed: {0}")]
    Http(#[from] io::Error),
}

impl ServeError {
    /// What the process should end with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // Whoever holds the port may let go of it.
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                exit::UNAVAILABLE
            }
            Self::Probes(error) if error.is_in_use() => exit::UNAVAILABLE,
            Self::Traces(_) | Self::Listen { .. } | Self::Probes(_) => exit::USAGE,
            Self::Messaging(error) if error.is_configuration() => exit::USAGE,
            Self::Messaging(_) | Self::Http(_) => exit::UNAVAILABLE,
            Self::Metrics(_) | Self::Document(_) | Self::DocsPage(_) => exit::SOFTWARE,
        }
    }
}

/// Why the queue cannot be used, and what to do about it: messaging knows no commands.
fn explained(error: &MessagingError) -> String {
    match error {
        MessagingError::MustBeProvisioned { .. } => {
            format!("{error}: run the set-up first (`spotter-api setup`)")
        }
        _ => error.to_string(),
    }
}

/// Listens where `config` says.
///
/// # Errors
/// [`ServeError::Listen`].
pub async fn listen(config: &Config) -> Result<TcpListener, ServeError> {
    let Config { host, port, .. } = config;
    TcpListener::bind((host.as_str(), *port))
        .await
        .map_err(|source| ServeError::Listen { address: host.with_port(*port), source })
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
    let traces = Traces::start(&config.traces, "spotter-api")?;
    let probes_listener = match config.probes_address {
        Some(address) => Some(probes::listen(address).await?),
        None => None,
    };
    let messaging = Messaging::connect(config.messaging.clone()).await?;
    messaging.provision().await?;
    let metrics = Metrics::new()?;
    let backpressure = Backpressure::of(messaging.writes().clone());
    tokio::spawn(backpressure::watch(backpressure.clone(), messaging.queue(), shutdown.clone()));
    let reconciliation = Reconciliation::default();
    let reconciling = tokio::spawn(reconcile::watch(
        reconciliation.clone(),
        messaging.clone(),
        config.reconcile_every,
        shutdown.clone(),
    ));
    let upload_rules = UploadRules {
        backpressure,
        limits: config.picture_limits,
        timeout: config.upload_timeout,
        slots: Arc::new(Semaphore::new(config.max_concurrent_uploads)),
        digests: config.redis.is_some() && config.response_cache_ttl.is_some(),
    };
    let breaker = Arc::new(Breaker::default());
    let api_metrics = ApiMetrics::new(&metrics, Arc::clone(&breaker), &upload_rules);
    register_reconciliation(&metrics.meter(), &reconciliation);
    let connection = messaging.clone();
    metrics.flag("spotter_nats_connected", "1 while there is a connection to NATS.", move || {
        connection.is_connected()
    });
    let writes = messaging.writes().clone();
    metrics.flags(STREAM_WRITABLE, "stream", move || writes.writable());
    let backpressure = upload_rules.backpressure.clone();
    let tasks = tasks(&config, &messaging, breaker, backpressure, api_metrics);
    if let Some(responses) = &tasks.responses {
        let (current, model) = (responses.model.clone(), config.model.clone());
        let announcements = messaging.heartbeats();
        tokio::spawn(current_model::watch(current, announcements, model, shutdown.clone()));
    }
    let vitals = ApiVitals { messaging: messaging.clone(), shutdown: shutdown.clone() };
    let end = CancellationToken::new();
    let _probes_end_with_us = end.clone().drop_guard();
    tokio::spawn(watch_writes(messaging.clone(), end.clone()));
    if let Some(listener) = probes_listener {
        let vitals = Arc::new(vitals.clone());
        tokio::spawn(probes::serve(listener, vitals, metrics.clone(), end));
    }
    let meter = metrics.meter();
    let server = HttpServer {
        listener,
        limits: config.connections,
        grace: config.shutdown_grace,
        meter: meter.clone(),
    };
    let document = openapi::parsed()?;
    let table = Arc::new(RouteTable::of(&document));
    let app = routes(Arc::clone(&table))?
        .data(tasks)
        .data(upload_rules)
        .data(vitals)
        .data(metrics)
        .data(Arc::new(Index::of(&document)));
    let app = observed(app, table, meter);

    tracing::info!(%address, "API listening");
    ready();
    server.run(app, shutdown).await?;
    if let Err(error) = reconciling.await {
        tracing::error!(%error, "comparing queue and records has broken off");
    }
    // Each waits for a server that may be away.
    tokio::join!(messaging.close(), traces.stop());
    tracing::info!("API stopped");
    Ok(())
}

/// Finds out for as long as this process serves whether the server stores what it is sent.
async fn watch_writes(messaging: Messaging, end: CancellationToken) {
    end.run_until_cancelled(messaging.watch_writes()).await;
}

fn tasks(
    config: &Config,
    messaging: &Messaging,
    breaker: Arc<Breaker>,
    backpressure: Backpressure,
    metrics: ApiMetrics,
) -> Tasks {
    let result_ttl = config.messaging.result_ttl;
    let redis = match &config.redis {
        Some(server) => {
            tracing::info!(redis = %server, "finished results are cached");
            Some(RedisCache::new(server.clone(), config.redis_timeout, breaker))
        }
        None => {
            tracing::warn!("REDIS_URL is not set: results are read from the bucket each time");
            None
        }
    };
    let responses = redis.clone().zip(config.response_cache_ttl).map(|(redis, ttl)| {
        // No longer than a result is kept under its own id.
        let ttl = ttl.min(result_ttl);
        ResponseCache { redis, ttl, model: CurrentModel::default(), metrics: metrics.clone() }
    });
    let cache = redis.map(|redis| ResultCache { redis, result_ttl, metrics: metrics.clone() });
    Tasks {
        queue: messaging.queue(),
        store: messaging.tasks(),
        keys: messaging.idempotency_keys(),
        backpressure,
        cache,
        responses,
        model: config.model.clone(),
        result_ttl,
        deadline: config.task_deadline,
        metrics,
    }
}

fn routes(table: Arc<RouteTable>) -> Result<impl Endpoint<Output = Response>, DocsPageError> {
    let service = openapi::service();
    let document = service.spec_endpoint();
    let docs = docs::endpoint(&service.swagger_ui_html())?;
    let routes =
        Route::new().nest("/docs", docs).at("/openapi.json", get(document)).nest("/", service);
    Ok(routes.around(move |endpoint, request| {
        let (endpoint, table) = (Arc::clone(&endpoint), Arc::clone(&table));
        async move {
            let path = request.uri().path().to_owned();
            let options = match *request.method() {
                Method::OPTIONS => fallback::options(&path, &table),
                _ => None,
            };
            let answer = match options {
                Some(options) => Ok(options),
                None => endpoint.call(request).await,
            };
            let answer = answer.unwrap_or_else(|error| fallback::answer(error, &path, &table));
            Ok(security_headers::protect(answer))
        }
    }))
}
