//! Redis: copies of finished tasks. It may be empty, slow or away without any answer changing.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use domain::{TaskId, TaskRecord};
use redis::{
    AsyncCommands, Client, RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use runtime::config::redact_url;
use time::OffsetDateTime;

use crate::{
    breaker::{Breaker, Change},
    metrics::{ApiMetrics, CacheOutcome},
};

/// Copies of terminal records, kept as long as the records themselves.
#[derive(Clone)]
pub(crate) struct ResultCache {
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
    result_ttl: Duration,
    breaker: Arc<Breaker>,
    metrics: ApiMetrics,
}

/// Why the cache gave no answer. Never shown to a client.
#[derive(Debug, thiserror::Error)]
enum CacheError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("a record cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl ResultCache {
    /// A cache at `url`. Does not connect yet.
    ///
    /// # Errors
    /// If `url` is no Redis address.
    pub(crate) fn new(
        url: &str,
        timeout: Duration,
        result_ttl: Duration,
        breaker: Arc<Breaker>,
        metrics: ApiMetrics,
    ) -> Result<Self, RedisError> {
        let shared = Shared {
            client: Client::open(url)?,
            address: redact_url(url),
            connection: RwLock::new(None),
            timeout,
            result_ttl,
            breaker,
            metrics,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The record of a finished task, if the cache has it and answers in time.
    pub(crate) async fn get(&self, id: TaskId) -> Option<TaskRecord> {
        let shared = &self.shared;
        if !shared.breaker.allows(Instant::now()) {
            shared.metrics.count_cache(CacheOutcome::Skipped);
            return None;
        }
        let answer = shared.within_timeout(shared.read(id)).await;
        shared.report(&answer);
        shared.metrics.count_cache(match &answer {
            Ok(Some(_)) => CacheOutcome::Hit,
            Ok(None) => CacheOutcome::Miss,
            Err(_) => CacheOutcome::Error,
        });
        answer.ok().flatten()
    }

    /// Keeps a copy of a finished task's record, without making anybody wait for it.
    pub(crate) fn put_in_background(&self, record: TaskRecord) {
        let Some(ttl) = remaining_life(&record, self.shared.result_ttl) else { return };
        if !self.shared.breaker.allows(Instant::now()) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let outcome = shared.within_timeout(shared.write(&record, ttl)).await;
            shared.report(&outcome);
        });
    }
}

impl Shared {
    async fn read(&self, id: TaskId) -> Result<Option<TaskRecord>, CacheError> {
        let mut connection = self.connection().await?;
        let json: Option<Vec<u8>> = connection.get(key(id)).await?;
        let Some(json) = json else { return Ok(None) };
        match serde_json::from_slice(&json) {
            Ok(record) => Ok(Some(record)),
            // Another program's, or another version's. Redis itself is well.
            Err(error) => {
                tracing::warn!(task_id = %id, %error, "a cached record cannot be read and is dropped");
                let () = connection.del(key(id)).await?;
                Ok(None)
            }
        }
    }

    async fn write(&self, record: &TaskRecord, ttl: Duration) -> Result<(), CacheError> {
        let json = serde_json::to_vec(record)?;
        let key = key(record.job.task_id);
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

fn key(id: TaskId) -> String {
    format!("spotter:task:{id}")
}

/// How long the record will stay in the bucket: a copy must not outlive it.
fn remaining_life(record: &TaskRecord, result_ttl: Duration) -> Option<Duration> {
    let finished_at = record.state.finished_at()?;
    let age = OffsetDateTime::now_utc() - finished_at;
    result_ttl.checked_sub(age.try_into().unwrap_or_default()).filter(|life| !life.is_zero())
}
