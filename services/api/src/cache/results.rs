//! The result cache: copies of terminal records with the TTL of the records.

use std::time::Duration;

use domain::{TaskId, TaskRecord};
use time::OffsetDateTime;

use super::connection::RedisCache;
use crate::metrics::ApiMetrics;

/// Copies of terminal records.
#[derive(Clone)]
pub(crate) struct ResultCache {
    pub(crate) redis: RedisCache,
    pub(crate) result_ttl: Duration,
    pub(crate) metrics: ApiMetrics,
}

impl ResultCache {
    /// The terminal record of a task, if the cache has it and answers in time.
    pub(crate) async fn get(&self, id: TaskId) -> Option<TaskRecord> {
        let (record, outcome) = self.redis.get(&key(id)).await;
        self.metrics.count_cache(outcome);
        record
    }

    /// Copies a terminal record without delaying the caller.
    pub(crate) fn put_in_background(&self, record: &TaskRecord) {
        let Some(ttl) = remaining_ttl(record, self.result_ttl) else { return };
        // Records are valid JSON, so this does not fail.
        let Ok(json) = serde_json::to_vec(record) else { return };
        self.redis.put_in_background(key(record.job.task_id), json, ttl);
    }
}

fn key(id: TaskId) -> String {
    format!("spotter:task:{id}")
}

/// The rest of a TTL that started when the task finished: no copy outlives its record. `None` for a task that
/// is not terminal, and after the TTL.
pub(super) fn remaining_ttl(record: &TaskRecord, ttl: Duration) -> Option<Duration> {
    let finished_at = record.state.finished_at()?;
    let age = OffsetDateTime::now_utc() - finished_at;
    ttl.checked_sub(age.try_into().unwrap_or_default()).filter(|life| !life.is_zero())
}
