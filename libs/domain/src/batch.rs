//! Batches: many pictures that are submitted together.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{BatchId, CallbackUrl, KeyId, Metadata, TaskState};

/// The record of a batch. Its tasks have records of their own; what became of each picture is stored beside this record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchRecord {
    /// Its id.
    pub batch_id: BatchId,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// How many pictures have been accepted or refused: those with lower indices.
    pub received: u32,
    /// Whether all pictures have been received.
    pub reception: Reception,
    /// Until when the queue may store jobs that were under way when the batch broke off, so that not all of its pictures may
    /// be known. `None`: there are no such jobs.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub late_until: Option<OffsetDateTime>,
    /// How often its client has begun to send it.
    pub attempt: u32,
    /// Whether its client has cancelled it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    /// The API key that it was submitted with. `None`: it was submitted without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<KeyId>,
    /// What the client has attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// Where its end is reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<CallbackUrl>,
    /// Its end, once each task has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<BatchEnd>,
}

impl BatchRecord {
    /// The record of a batch that begins, without anything that its client may leave out.
    #[must_use]
    pub fn new(batch_id: BatchId, reception: Reception) -> Self {
        Self {
            batch_id,
            created_at: batch_id.created_at().unwrap_or_else(OffsetDateTime::now_utc),
            received: 0,
            reception,
            late_until: None,
            attempt: 1,
            cancelled: false,
            owner: None,
            metadata: None,
            callback_url: None,
            end: None,
        }
    }
}

/// Whether all pictures of a batch have been received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Reception {
    /// They arrive.
    Receiving {
        /// When the API has ended that receives them, unless it has extended this by then.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
    },
    /// All have been received.
    Complete,
    /// It broke off: those that have been accepted are run, and no others.
    Interrupted {
        /// Why, as a text.
        reason: String,
    },
}

/// The end of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchEnd {
    /// When it was found that each task has ended.
    #[serde(with = "time::serde::rfc3339")]
    pub finished_at: OffsetDateTime,
    /// What became of the pictures.
    pub counts: BatchCounts,
}

/// What became of a picture of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemOutcome {
    /// It was refused, and has no task.
    Refused,
    /// Its task has succeeded.
    Succeeded,
    /// Its task has failed.
    Failed,
    /// Its task was revoked.
    Revoked,
    /// Its task has expired.
    Expired,
}

impl ItemOutcome {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Refused, Self::Succeeded, Self::Failed, Self::Revoked, Self::Expired];

    /// That of a task in this state; `None` if it is not terminal.
    #[must_use]
    pub fn of(state: &TaskState) -> Option<Self> {
        match state {
            TaskState::Queued { .. } | TaskState::Started { .. } => None,
            TaskState::Success { .. } => Some(Self::Succeeded),
            TaskState::Failure { .. } => Some(Self::Failed),
            TaskState::Revoked { .. } => Some(Self::Revoked),
            TaskState::Expired { .. } => Some(Self::Expired),
        }
    }

    /// Its name in subjects and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// How many pictures of a batch came to what. They add up to those that were received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchCounts {
    /// Those whose tasks have not ended.
    pub pending: u32,
    /// Those that were refused, and have no task.
    pub refused: u32,
    /// Those whose tasks have succeeded.
    pub succeeded: u32,
    /// Those whose tasks have failed.
    pub failed: u32,
    /// Those whose tasks were revoked.
    pub revoked: u32,
    /// Those whose tasks have expired.
    pub expired: u32,
}

impl BatchCounts {
    /// Counts the outcomes of the pictures that were received; `None`: there is none yet.
    pub fn of(outcomes: impl IntoIterator<Item = Option<ItemOutcome>>) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            *match outcome {
                None => &mut counts.pending,
                Some(ItemOutcome::Refused) => &mut counts.refused,
                Some(ItemOutcome::Succeeded) => &mut counts.succeeded,
                Some(ItemOutcome::Failed) => &mut counts.failed,
                Some(ItemOutcome::Revoked) => &mut counts.revoked,
                Some(ItemOutcome::Expired) => &mut counts.expired,
            } += 1;
        }
        counts
    }

    /// How many have a task.
    #[must_use]
    pub fn accepted(&self) -> u32 {
        self.pending + self.succeeded + self.failed + self.revoked + self.expired
    }
}

/// Why a picture of a batch was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRefusal {
    /// Its name.
    pub name: String,
    /// The kind of problem, as a URI.
    pub kind: String,
    /// Why, as a text.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up() {
        let outcomes = ItemOutcome::ALL.map(Some).into_iter().chain([None, None]);
        let counts = BatchCounts::of(outcomes);
        assert_eq!((counts.pending, counts.refused, counts.accepted()), (2, 1, 6));
        for outcome in ItemOutcome::ALL {
            assert_eq!(ItemOutcome::named(outcome.name()), Some(outcome));
        }
    }

    #[test]
    fn a_record_survives_its_json() {
        let at = OffsetDateTime::UNIX_EPOCH;
        let record = BatchRecord {
            batch_id: BatchId::generate(),
            created_at: at,
            received: 3,
            reception: Reception::Receiving { until: at },
            late_until: Some(at),
            attempt: 1,
            cancelled: true,
            owner: None,
            metadata: None,
            callback_url: Some(CallbackUrl::new("https://example.com/".to_owned())),
            end: Some(BatchEnd { finished_at: at, counts: BatchCounts::default() }),
        };
        let interrupted = Reception::Interrupted { reason: "it broke off".to_owned() };
        for reception in [record.reception.clone(), Reception::Complete, interrupted] {
            let record = BatchRecord { reception, ..record.clone() };
            let json = serde_json::to_value(&record).unwrap();
            assert_eq!(serde_json::from_value::<BatchRecord>(json).unwrap(), record);
        }
    }
}
