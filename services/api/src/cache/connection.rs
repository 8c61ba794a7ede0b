//! The one connection to Redis, and the breaker in front of it.

use std::{
    fs,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use redis::{
    AsyncCommands, Client, RedisError, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use runtime::address::redacted;
use serde::de::DeserializeOwned;

use crate::{
    breaker::{Breaker, Change},
    metrics::CacheOutcome,
};

/// JSON texts in Redis. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RedisCache {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    /// Where Redis is, without credentials.
    address: String,
    /// Made on first use, dropped on failure: a manager that waits out its own back-off would go on
    /// failing for as long after Redis has come back.
    connection: RwLock<Option<ConnectionManager>>,
    timeout: Duration,
    breaker: Arc<Breaker>,
}

/// Why Redis gave no answer. Never shown to a client.
#[derive(Debug, thiserror::Error)]
enum CacheError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Redis(#[from] RedisError),
}

impl RedisCache {
    /// The Redis at `url`. Does not connect yet. Where `url` says `rediss://`, the certificates in
    /// `ca_file` are trusted, or the system's where there is none.
    ///
    /// # Errors
    /// If `url` is no Redis address, or `ca_file` holds no certificates.
    pub(crate) fn new(
        url: &str,
        ca_file: Option<&Path>,
        timeout: Duration,
        breaker: Arc<Breaker>,
    ) -> Result<Self, RedisError> {
        let shared = Shared {
            client: client(url, ca_file)?,
            address: redacted(url),
            connection: RwLock::new(None),
            timeout,
            breaker,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What is stored under `key`, and how the question went. A text that cannot be read as a `T` is
    /// removed and not there.
    pub(super) async fn get<T: DeserializeOwned>(&self, key: &str) -> (Option<T>, CacheOutcome) {
        let shared = &self.shared;
        if !shared.breaker.allows(Instant::now()) {
            return (None, CacheOutcome::Skipped);
        }
        let answer = shared.within_timeout(shared.read(key)).await;
        shared.report(&answer);
        match answer {
            Ok(Some(value)) => (Some(value), CacheOutcome::Hit),
            Ok(None) => (None, CacheOutcome::Miss),
            Err(_) => (None, CacheOutcome::Error),
        }
    }

    /// Stores `json` under `key` for `ttl`, without making anybody wait for it.
    pub(super) fn put_in_background(&self, key: String, json: Vec<u8>, ttl: Duration) {
        if !self.shared.breaker.allows(Instant::now()) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let outcome = shared.within_timeout(shared.write(&key, json, ttl)).await;
            shared.report(&outcome);
        });
    }
}

fn client(url: &str, ca_file: Option<&Path>) -> Result<Client, RedisError> {
    match ca_file {
        Some(path) => {
            let root_cert = Some(fs::read(path)?);
            Client::build_with_tls(url, TlsCertificates { client_tls: None, root_cert })
        }
        None => Client::open(url),
    }
}

impl Shared {
    async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, CacheError> {
        let mut connection = self.connection().await?;
        let json: Option<Vec<u8>> = connection.get(key).await?;
        let Some(json) = json else { return Ok(None) };
        match serde_json::from_slice(&json) {
            Ok(value) => Ok(Some(value)),
            // Another program's, or another version's. Redis itself is well.
            Err(error) => {
                tracing::warn!(key, %error, "what is cached cannot be read and is dropped");
                let () = connection.del(key).await?;
                Ok(None)
            }
        }
    }

    async fn write(&self, key: &str, json: Vec<u8>, ttl: Duration) -> Result<(), CacheError> {
        Ok(self.connection().await?.set_ex(key, json, ttl.as_secs().max(1)).await?)
    }

    async fn connection(&self) -> Result<ConnectionManager, CacheError> {
        let current = self.connection.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(connection) = current {
            return Ok(connection);
        }
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let connection = ConnectionManager::new_with_config(self.client.clone(), config).await?;
        *self.connection.write().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
        Ok(connection)
    }

    /// The whole exchange, connecting included, within one deadline.
    async fn within_timeout<T>(
        &self,
        exchange: impl Future<Output = Result<T, CacheError>>,
    ) -> Result<T, CacheError> {
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CacheError::Timeout(self.timeout)),
        }
    }

    fn report<T>(&self, outcome: &Result<T, CacheError>) {
        if outcome.is_err() {
            *self.connection.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        match (self.breaker.report(outcome, Instant::now()), outcome) {
            (Change::Opened, Err(error)) => tracing::warn!(
                redis = self.address,
                %error,
                "the result cache fails; results are read from the bucket until it is back"
            ),
            (Change::Closed, _) => tracing::info!(redis = self.address, "the result cache is back"),
            _ => {}
        }
    }
}
