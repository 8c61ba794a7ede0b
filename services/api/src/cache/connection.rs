//! The connection to Redis, and the circuit breaker in front of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use redis::{
    AsyncCommands, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use serde::de::DeserializeOwned;
use tokio::{sync::Mutex, time::timeout_at};

use super::{
    breaker::{Breaker, Change},
    server::RedisServer,
};
use crate::metrics::CacheOutcome;

/// Timeout for connecting, in the background. With TLS or a high latency it takes several times as long as
/// one request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// JSON values in Redis. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RedisCache {
    shared: Arc<Shared>,
}

struct Shared {
    server: RedisServer,
    /// Created on first use, dropped on failure: a manager in its own back-off would continue to fail after
    /// Redis is back.
    connection: RwLock<Option<ConnectionManager>>,
    /// Held by the task that connects.
    connecting: Arc<Mutex<()>>,
    timeout: Duration,
    breaker: Arc<Breaker>,
}

/// Why Redis gave no answer. Never sent to a client.
#[derive(Debug, thiserror::Error)]
enum CacheError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("no connection")]
    NotConnected,
}

/// A connection, and whether it was established for the current request.
struct Obtained {
    connection: ConnectionManager,
    is_new: bool,
}

impl RedisCache {
    /// Does not connect yet.
    pub(crate) fn new(server: RedisServer, timeout: Duration, breaker: Arc<Breaker>) -> Self {
        let connection = RwLock::new(None);
        let shared = Shared { server, connection, connecting: Arc::default(), timeout, breaker };
        Self { shared: Arc::new(shared) }
    }

    /// The value of `key`, and the outcome of the request. A value that is not a valid `T` is deleted and
    /// counts as a miss.
    pub(super) async fn get<T: DeserializeOwned>(&self, key: &str) -> (Option<T>, CacheOutcome) {
        let shared = &self.shared;
        if !shared.breaker.allows(Instant::now()) {
            return (None, CacheOutcome::Skipped);
        }
        let answer = shared.ask(async |connection| read(connection, key).await).await;
        shared.report(&answer);
        match answer {
            Ok(Some(value)) => (Some(value), CacheOutcome::Hit),
            Ok(None) => (None, CacheOutcome::Miss),
            Err(_) => (None, CacheOutcome::Error),
        }
    }

    /// Stores `json` under `key` for `ttl`, without delaying the caller.
    pub(super) fn put_in_background(&self, key: String, json: Vec<u8>, ttl: Duration) {
        if !self.shared.breaker.allows(Instant::now()) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let seconds = ttl.as_secs().max(1);
            let outcome = shared
                .ask(async |mut connection| Ok(connection.set_ex(&key, json, seconds).await?))
                .await;
            shared.report::<()>(&outcome);
        });
    }
}

async fn read<T: DeserializeOwned>(
    mut connection: ConnectionManager,
    key: &str,
) -> Result<Option<T>, CacheError> {
    let json: Option<Vec<u8>> = connection.get(key).await?;
    let Some(json) = json else { return Ok(None) };
    match serde_json::from_slice(&json) {
        Ok(value) => Ok(Some(value)),
        // Written by another program or another version. Redis itself works.
        Err(error) => {
            tracing::warn!(key, %error, "deleting a cached value that cannot be parsed");
            let () = connection.del(key).await?;
            Ok(None)
        }
    }
}

impl Shared {
    /// One request within the timeout. If there is no connection yet, connecting continues in the background
    /// for the next request.
    async fn ask<T>(
        self: &Arc<Self>,
        exchange: impl AsyncFnOnce(ConnectionManager) -> Result<T, CacheError>,
    ) -> Result<T, CacheError> {
        let deadline = tokio::time::Instant::now() + self.timeout;
        let too_late = |_| CacheError::Timeout(self.timeout);
        let obtained = timeout_at(deadline, self.connection()).await.map_err(too_late)?;
        let Obtained { connection, is_new } = obtained?;
        match timeout_at(deadline, exchange(connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            // Connecting took most of the time, so the connection may be fine.
            Err(elapsed) if is_new => Err(too_late(elapsed)),
            failed => {
                *self.connection.write() = None;
                failed.map_err(too_late)?
            }
        }
    }

    async fn connection(self: &Arc<Self>) -> Result<Obtained, CacheError> {
        if let Some(connection) = self.current() {
            return Ok(Obtained { connection, is_new: false });
        }
        match Arc::clone(&self.connecting).try_lock_owned() {
            Ok(turn) => {
                let shared = Arc::clone(self);
                let connecting = tokio::spawn(async move {
                    let _turn = turn;
                    shared.connect().await
                });
                connecting.await.map_err(|_| CacheError::NotConnected)??;
            }
            // Another request's task is connecting.
            Err(_) => drop(self.connecting.lock().await),
        }
        let connection = self.current().ok_or(CacheError::NotConnected)?;
        Ok(Obtained { connection, is_new: true })
    }

    fn current(&self) -> Option<ConnectionManager> {
        self.connection.read().clone()
    }

    async fn connect(&self) -> Result<(), RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(self.timeout.max(CONNECT_TIMEOUT)))
            .set_response_timeout(Some(self.timeout));
        let connection =
            ConnectionManager::new_with_config(self.server.client.clone(), config).await?;
        *self.connection.write() = Some(connection);
        Ok(())
    }

    fn report<T>(&self, outcome: &Result<T, CacheError>) {
        match (self.breaker.report(outcome, Instant::now()), outcome) {
            (Change::Opened, Err(error)) => tracing::warn!(
                redis = %self.server,
                %error,
                "the cache fails; results are read from the bucket until it is available again"
            ),
            (Change::Closed, _) => {
                tracing::info!(redis = %self.server, "the cache is available again")
            }
            _ => {}
        }
    }
}
