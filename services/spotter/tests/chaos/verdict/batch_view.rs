//! A batch and its results as clients see them.

use domain::{BatchCounts, BatchId, BatchRecord, Reception, TaskId};
use serde::Deserialize;
use serde_json::Value;

/// A batch as the API shows it, or a webhook.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct BatchView {
    pub(crate) state: String,
    pub(crate) received: u32,
    pub(crate) counts: BatchCounts,
    pub(crate) cancelled: bool,
    pub(crate) interruption: Option<String>,
    #[serde(default)]
    pub(crate) refused: Vec<RefusedItem>,
}

/// A picture that was refused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct RefusedItem {
    pub(crate) index: u16,
}

/// One line of the results.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResultLine {
    pub(crate) index: u64,
    pub(crate) item: ShownItem,
}

/// What a line says of its picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ShownItem {
    Task {
        id: TaskId,
        state: String,
    },
    Refused {
        kind: String,
    },
    /// Neither or both.
    Unclear,
}

impl BatchView {
    /// The batch in an answer of the API, with its id.
    pub(crate) fn parse(batch: &Value) -> Option<(BatchId, Self)> {
        let view = serde_json::from_value(batch.clone()).ok()?;
        Some((batch["batch_id"].as_str()?.parse().ok()?, view))
    }

    /// From the record of a batch that has ended; `None` if it has not.
    pub(crate) fn from_record(record: &BatchRecord) -> Option<Self> {
        let interruption = match &record.reception {
            Reception::Interrupted { reason } => Some(reason.clone()),
            Reception::Receiving { .. } | Reception::Complete => None,
        };
        Some(Self {
            state: "FINISHED".to_owned(),
            received: record.received,
            counts: record.end?.counts,
            cancelled: record.cancelled,
            interruption,
            refused: Vec::new(),
        })
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.state == "FINISHED"
    }

    pub(crate) fn adds_up(&self) -> bool {
        let counted = self.counts.accepted() + self.counts.refused;
        counted == self.received && !(self.is_finished() && self.counts.pending > 0)
    }

    /// Whether both tell the same of the end of a batch.
    pub(crate) fn is_same_end(&self, other: &Self) -> bool {
        let told = |view: &Self| (view.received, view.counts, view.cancelled);
        self.is_finished() && other.is_finished() && told(self) == told(other)
    }
}

impl ResultLine {
    pub(crate) fn parse(line: &Value) -> Option<Self> {
        let id = line["task_id"].as_str().and_then(|id| id.parse().ok());
        let kind = line["error"]["type"].as_str();
        let item = match (id, kind) {
            (Some(id), None) => {
                ShownItem::Task { id, state: line["state"].as_str().unwrap_or("?").to_owned() }
            }
            (None, Some(kind)) => ShownItem::Refused { kind: kind.to_owned() },
            _ => ShownItem::Unclear,
        };
        Some(Self { index: line["index"].as_u64()?, item })
    }
}
