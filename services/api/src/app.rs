//! Assembles the API: connects to NATS and Redis, builds the routes, and serves them until shutdown.

mod endpoint;
mod error;

use std::sync::Arc;

use messaging::{ApiKeyChange, Messaging, ProcessIdentity};
use service::{
    lifecycle::process_name::process_name,
    probes,
    telemetry::{
        metrics::{Metrics, STREAM_WRITABLE},
        traces::Traces,
    },
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    auth::{
        AuthMode,
        guard::{Guard, KeyGuard},
        key_ring::{self, KeyRing},
        refusal::Refusal,
    },
    batches::{self, Batches},
    cache::{RedisCache, ResponseCache, ResultCache, breaker::Breaker},
    given_up::GivenUp,
    http::{AllowedOrigins, event_stream::EventStreamSlots, server::HttpServer},
    metrics::{
        ApiMetrics, RefusalMetrics, register_event_streams, register_keys, register_reconciliation,
        register_task_index,
    },
    models::{
        Models,
        workers::{self, WorkerReports},
    },
    operations::{
        Operations, Sources,
        own_status::{self, OwnStatus},
    },
    reconcile::{self, Reconciliation},
    routes::{health::ApiHealth, rejection::RejectionKind},
    tasks::{
        Tasks,
        backpressure::{self, Backpressure},
        waiting::WaitingJobs,
    },
    upload::{PictureFetcher, UploadRules},
};

use self::endpoint::{AccessRules, RouteData, ServedApis, app};
pub use self::error::{PageError, ServeError};

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

/// Serves the API on `listener` until `shutdown` is cancelled, then drains open requests. `ready` is called
/// once, when requests can be answered.
///
/// # Errors
/// [`ServeError`] if NATS cannot be reached within the connect timeout, or the listener fails.
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
    messaging.provision([config.model.clone()]).await?;
    let metrics = Metrics::new()?;
    let ring = match config.auth {
        AuthMode::Off => None,
        AuthMode::Keys => Some(key_ring(&messaging, &metrics, &shutdown).await?),
    };
    let reconciliation = Reconciliation::default();
    let reconciling = tokio::spawn(reconcile::watch(
        reconciliation.clone(),
        messaging.clone(),
        config.reconcile_every,
        shutdown.clone(),
    ));
    let upload_rules = UploadRules {
        backpressure: watch_queue(&messaging, &shutdown),
        limits: config.picture_limits,
        timeout: config.upload_timeout,
        slots: Arc::new(Semaphore::new(config.max_concurrent_uploads)),
        max_slots: config.max_concurrent_uploads,
        digests: config.redis.is_some() && config.response_cache_ttl.is_some(),
        fetcher: fetcher(&config, &metrics),
    };
    let breaker = Arc::new(Breaker::default());
    let refused = &RejectionKind::OF_UPLOADS;
    let api_metrics = ApiMetrics::new(&metrics, Arc::clone(&breaker), &upload_rules, refused);
    register_reconciliation(&metrics.meter(), &reconciliation);
    register_messaging(&metrics, &messaging);
    let backpressure = upload_rules.backpressure.clone();
    let tasks = Tasks {
        rates: ring.clone(),
        ..tasks(&config, &messaging, breaker, backpressure, api_metrics)
    };
    let reports = tasks.models.workers.clone();
    tokio::spawn(workers::watch(reports, messaging.heartbeats(), shutdown.clone()));
    let health = ApiHealth { messaging: messaging.clone(), shutdown: shutdown.clone() };
    let batches = batches_of(&config, &messaging, &tasks, &shutdown);
    let closing =
        batches::closing::watch(batches.clone(), messaging.lease(batches::closing::LEASE));
    let closing = tokio::spawn(closing);
    let end = CancellationToken::new();
    let _stop_probes_at_the_end = end.clone().drop_guard();
    tokio::spawn(watch_writes(messaging.clone(), end.clone()));
    if let Some(listener) = probes_listener {
        let health = Arc::new(health.clone());
        tokio::spawn(probes::serve(listener, health, metrics.clone(), end));
    }
    let server = HttpServer {
        listener,
        limits: config.connections,
        grace: config.shutdown_grace,
        meter: metrics.meter(),
    };
    let streams = EventStreamSlots::new(config.max_event_streams);
    register_event_streams(&metrics.meter(), &streams);
    if let Some(index) = &tasks.index {
        register_task_index(&metrics.meter(), index);
    }
    let refusals = ring.as_ref().map(|_| RefusalMetrics::new(&metrics.meter(), &Refusal::REASONS));
    let process = ProcessIdentity::new(process_name(), service::VERSION);
    let status = OwnStatus {
        metrics: tasks.metrics.clone(),
        refusals: refusals.clone(),
        upload_slots: Arc::clone(&upload_rules.slots),
        max_uploads: upload_rules.max_slots,
        event_streams: streams.clone(),
        has_cache: tasks.cache.is_some(),
    };
    own_status::answer_requests(&messaging, process.clone(), status).await?;
    let sources = Sources {
        queue: messaging.queue(),
        messaging: messaging.clone(),
        backpressure: tasks.backpressure.clone(),
        process,
        max_waiting: config.messaging.limits.max_messages,
        has_webhooks: config.callback_rules.is_some(),
    };
    let origins = Arc::new(config.allowed_origins);
    let guard = guard(ring.zip(refusals), &tasks, &origins);
    let data = RouteData {
        operations: Operations::new(sources, shutdown.clone()),
        given_up: GivenUp::new(&messaging),
        tasks,
        batches,
        upload_rules,
        streams,
        health,
        metrics,
    };
    let served = ServedApis {
        deepstack: config.deepstack,
        huggingface: config.huggingface,
        roboflow: config.roboflow,
        open_inference: config.open_inference,
    };
    let access = AccessRules { guard, origins, served };
    let app = app(data, access)?;

    tracing::info!(%address, "API listening");
    ready();
    server.run(app, shutdown).await?;
    if let Err(error) = reconciling.await {
        tracing::error!(%error, "the reconciler has panicked");
    }
    if let Err(error) = closing.await {
        tracing::error!(%error, "what ends batches has panicked");
    }
    // Each of them waits for a server that may be unavailable.
    tokio::join!(messaging.close(), traces.stop());
    tracing::info!("API stopped");
    Ok(())
}

/// The keys as they are now, which are followed until `shutdown`.
async fn key_ring(
    messaging: &Messaging,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) -> Result<KeyRing, ServeError> {
    let (ring, keys) = (KeyRing::default(), messaging.api_keys());
    ring.apply(ApiKeyChange::All(keys.list().await?));
    tracing::info!(keys = ring.len(), "requests need an API key");
    register_keys(&metrics.meter(), &ring);
    tokio::spawn(key_ring::watch(ring.clone(), keys, shutdown.clone()));
    Ok(ring)
}

fn guard(
    keys: Option<(KeyRing, RefusalMetrics)>,
    tasks: &Tasks,
    origins: &Arc<AllowedOrigins>,
) -> Guard {
    let Some((ring, metrics)) = keys else { return Guard::Open(Arc::clone(origins)) };
    Guard::Keys(Arc::new(KeyGuard {
        ring,
        waiting: tasks.waiting.clone(),
        backpressure: tasks.backpressure.clone(),
        metrics,
    }))
}

fn batches_of(
    config: &Config,
    messaging: &Messaging,
    tasks: &Tasks,
    shutdown: &CancellationToken,
) -> Batches {
    Batches {
        tasks: tasks.clone(),
        store: messaging.batches(),
        webhooks: messaging.webhooks(),
        limits: config.batch_limits,
        receptions: Arc::new(Semaphore::new(config.max_concurrent_batches)),
        shutdown: shutdown.clone(),
    }
}

fn fetcher(config: &Config, metrics: &Metrics) -> Option<PictureFetcher> {
    let fetch = config.fetch.clone()?;
    Some(PictureFetcher::new(fetch, &metrics.meter()))
}

/// Samples the queue in the background until `shutdown`.
fn watch_queue(messaging: &Messaging, shutdown: &CancellationToken) -> Backpressure {
    let backpressure = Backpressure::of(messaging.writes().clone());
    let watching = backpressure::watch(backpressure.clone(), messaging.queue(), shutdown.clone());
    tokio::spawn(watching);
    backpressure
}

/// Registers the state of the connection and of the streams.
fn register_messaging(metrics: &Metrics, messaging: &Messaging) {
    let connection = messaging.clone();
    metrics.flag("spotter_nats_connected", "1 while there is a connection to NATS.", move || {
        connection.is_connected()
    });
    let writes = messaging.writes().clone();
    metrics.flags(STREAM_WRITABLE, "stream", move || writes.writable());
}

/// Monitors until `end` whether the NATS server stores messages.
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
    let (result_ttl, most_listed) = (config.messaging.result_ttl, config.max_listed_tasks);
    let redis = match &config.redis {
        Some(server) => {
            tracing::info!(redis = %server, "caching results in Redis");
            Some(RedisCache::new(server.clone(), config.redis_timeout, breaker))
        }
        None => {
            tracing::warn!("REDIS_URL is not set: no results are cached");
            None
        }
    };
    let models = Models {
        default: config.model.clone(),
        workers: WorkerReports::default(),
        descriptions: Arc::new(messaging.model_descriptions()),
        queue: backpressure.clone(),
    };
    let responses = redis.clone().zip(config.response_cache_ttl).map(|(redis, ttl)| {
        // No longer than the record of the task is kept.
        let ttl = ttl.min(result_ttl);
        ResponseCache { redis, ttl, workers: models.workers.clone(), metrics: metrics.clone() }
    });
    let cache = redis.map(|redis| ResultCache { redis, result_ttl, metrics: metrics.clone() });
    Tasks {
        queue: messaging.queue(),
        store: messaging.tasks(),
        index: (most_listed > 0).then(|| messaging.task_index(most_listed)),
        keys: messaging.idempotency_keys(),
        drawings: messaging.drawings(),
        backpressure,
        waiting: WaitingJobs::new(messaging.queue()),
        rates: None,
        cache,
        responses,
        models,
        result_ttl,
        deadline: config.task_deadline,
        callback_rules: config.callback_rules.clone(),
        metrics,
    }
}
