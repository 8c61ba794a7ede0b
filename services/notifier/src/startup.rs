//! Starting a notifier, and the loop that takes webhooks.

use std::sync::{Arc, OnceLock};

use messaging::{Messaging, MessagingError, WebhookDeliveries, WebhookDelivery};
use outbound::Client;
use service::{
    lifecycle::exit,
    probes,
    telemetry::metrics::{Metrics, MetricsError},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    deliver::{Context, deliver},
    health::NotifierHealth,
    metrics::NotifierMetrics,
};

/// Why a notifier could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum NotifierError {
    /// NATS is unreachable, or rejects the notifier.
    #[error(transparent)]
    Messaging(#[from] MessagingError),
    /// The notifier cannot listen on `PROBES_ADDRESS`.
    #[error(transparent)]
    Probes(#[from] probes::ListenError),
    /// Metrics could not be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

impl NotifierError {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // The process that uses the port may stop.
            Self::Probes(error) if error.is_in_use() => exit::UNAVAILABLE,
            Self::Probes(_) => exit::USAGE,
            Self::Messaging(error) if error.is_configuration() => exit::USAGE,
            Self::Messaging(_) => exit::UNAVAILABLE,
            Self::Metrics(_) => exit::SOFTWARE,
        }
    }
}

/// Runs a notifier until `shutdown` is cancelled; webhooks in progress end first, within the grace time. `ready` is
/// called once, before the first webhook is taken.
///
/// # Errors
/// [`NotifierError`] if it cannot start.
pub async fn run(
    config: Config,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), NotifierError> {
    let metrics = Metrics::new()?;
    let health =
        Arc::new(NotifierHealth { messaging: OnceLock::new(), shutdown: shutdown.clone() });
    let end = CancellationToken::new();
    let _probes_end_with_us = end.clone().drop_guard();
    if let Some(address) = config.probes_address {
        let listener = probes::listen(address).await?;
        let health = health.clone();
        tokio::spawn(probes::serve(listener, health, metrics.clone(), end));
    }
    let messaging = Messaging::connect(config.messaging.clone()).await?;
    messaging.provision([]).await?;
    let connection = messaging.clone();
    metrics.flag("spotter_nats_connected", "1 while there is a connection to NATS.", move || {
        connection.is_connected()
    });
    let most = config.limits.requests;
    let context = Arc::new(Context {
        events: messaging.cloud_events(),
        client: Client::new(config.rules, config.limits, config.roots),
        secrets: config.secrets,
        retries: config.retries,
        metrics: NotifierMetrics::new(&metrics.meter()),
    });
    // Called once; a second call would pass the same connection.
    let _ = health.messaging.set(messaging.clone());
    tracing::info!("notifier ready");
    ready();
    let running = notify(context, messaging.webhooks().deliveries(), most, &shutdown).await;
    if timeout(config.shutdown_grace, running.join_all()).await.is_err() {
        tracing::warn!("webhooks in progress were broken off; they are delivered again");
    }
    messaging.close().await;
    tracing::info!("notifier stopped");
    Ok(())
}

/// Delivers webhooks, at most `most` at a time, until `shutdown`. Returns those in progress.
async fn notify(
    context: Arc<Context>,
    deliveries: WebhookDeliveries,
    most: usize,
    shutdown: &CancellationToken,
) -> JoinSet<()> {
    let slots = Arc::new(Semaphore::new(most));
    let (sender, mut due) = mpsc::channel::<WebhookDelivery>(1);
    let free = Arc::clone(&slots);
    let taking = tokio::spawn(async move {
        loop {
            // No more than can be delivered at once: the others are for other notifiers.
            let Ok(permit) = free.acquire().await else { return };
            drop(permit);
            deliveries.take(free.available_permits().max(1), &sender).await;
        }
    });
    let mut running = JoinSet::new();
    loop {
        let delivery = tokio::select! {
            delivery = due.recv() => delivery,
            () = shutdown.cancelled() => None,
        };
        let Some(delivery) = delivery else { break };
        let permit = tokio::select! {
            permit = Arc::clone(&slots).acquire_owned() => permit,
            () = shutdown.cancelled() => break,
        };
        let context = Arc::clone(&context);
        running.spawn(async move {
            let _permit = permit;
            deliver(&context, delivery).await;
        });
        while running.try_join_next().is_some() {}
    }
    taking.abort();
    running
}
