//! A batch as `/v1` describes it.

use domain::{BatchCounts, BatchId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A batch as `/v1` describes it. Fields that a newer API adds are passed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The batch's id.
    pub batch_id: BatchId,
    /// Where the batch stands.
    pub state: BatchState,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When each task had ended.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// How many pictures have been accepted or refused: those with lower indices.
    pub received: u32,
    /// What became of them.
    pub counts: BatchCounts,
    /// Why the batch broke off: pictures from index `received` on were not accepted.
    #[serde(default)]
    pub interruption: Option<String>,
    /// Whether it was cancelled.
    #[serde(default)]
    pub cancelled: bool,
    /// What the client attached to the batch.
    #[serde(default)]
    pub metadata: Option<serde_json::Value>,
    /// The first pictures that were refused.
    #[serde(default)]
    pub refused: Vec<RefusedItem>,
    /// Where the batch and what belongs to it are.
    pub links: BatchLinks,
}

/// Where a batch stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BatchState {
    /// Its pictures arrive.
    Receiving,
    /// All pictures that will come have been received, and some tasks have not ended.
    Running,
    /// Each task has ended.
    Finished,
    /// A state that only a newer API knows.
    #[serde(untagged)]
    Other(String),
}

/// A picture that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedItem {
    /// Its place in the batch, from 0.
    pub index: u16,
    /// Its name; empty where that is not known.
    pub name: String,
    /// The kind of problem, as a URI.
    #[serde(rename = "type")]
    pub kind: String,
    /// What was found and what was expected.
    pub detail: String,
}

/// Where a batch and what belongs to it are: paths of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchLinks {
    /// The batch.
    #[serde(rename = "self")]
    pub batch: String,
    /// Its events.
    pub events: String,
    /// Its tasks, in order.
    pub results: String,
}

impl Batch {
    /// Whether each of its tasks has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state == BatchState::Finished
    }

    /// How many of the pictures that were received have ended, refused ones among them.
    #[must_use]
    pub fn ended(&self) -> u32 {
        self.received.saturating_sub(self.counts.pending)
    }

    /// How many of them have no result.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.ended().saturating_sub(self.counts.succeeded)
    }
}
