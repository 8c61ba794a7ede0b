//! Copies of terminal records, kept as long as the records themselves.

use std::time::Duration;

use domain::{TaskId, TaskRecord};
use time::OffsetDateTime;

use super::connection::RedisCache;
use crate::metrics::ApiMetrics;

/// Copies of finished tasks.
#[derive(Clone)]
pub(crate) struct ResultCache {
    pub(crate) redis: RedisCache,
    pub(crate) result_ttl: Duration,
    pub(crate) metrics: ApiMetrics,
}

impl ResultCache {
    /// The record of a finished task, if the cache has it and answers in time.
    pub(crate) async fn get(&self, id: TaskId) -> Option<TaskRecord> {
        let (record, outcome) = self.redis.get(&key(id)).await;
        self.metrics.count_cache(outcome);
        record
    }

    /// Keeps a copy of a finished task's record, without making anybody wait for it.
    pub(crate) fn put_in_background(&self, record: &TaskRecord) {
        let Some(ttl) = remaining_life(record, self.result_ttl) else { return };
        // What came as JSON, or is about to go as JSON, can be written as such.
        let Ok(json) = serde_json::to_vec(record) else { return };
        self.redis.put_in_background(key(record.job.task_id), json, ttl);
    }
}

fn key(id: TaskId) -> String {
    format!("spotter:task:{id}")
}

/// How much is left of a life of `ttl` that began when the task ended: nothing in Redis outlives the
/// record that it was taken from. `None` for a task without an end, and when that life is over.
pub(super) fn remaining_life(record: &TaskRecord, ttl: Duration) -> Option<Duration> {
    let finished_at = record.state.finished_at()?;
    let age = OffsetDateTime::now_utc() - finished_at;
    ttl.checked_sub(age.try_into().unwrap_or_default()).filter(|life| !life.is_zero())
}
