//! The ids of batches and of their tasks.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{InvalidTaskId, KeyId, Sha256Hasher, TaskId};

/// The most pictures that a batch can have: their index is in their ids, with 16 bits.
pub const MAX_BATCH_ITEMS: u32 = 1 << 16;

/// The id of a batch: a UUIDv7, as that of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(TaskId);

impl BatchId {
    /// A new id, of the present time and random bits.
    #[must_use]
    pub fn generate() -> Self {
        Self(TaskId::generate())
    }

    /// A new id of a batch of this owner, which has its tag as the ids of its tasks do.
    #[must_use]
    pub fn generate_for(owner: Option<KeyId>) -> Self {
        Self(owner.map_or_else(TaskId::generate, TaskId::generate_for))
    }

    /// The batch whose id is that of an idempotency key.
    #[must_use]
    pub fn from_uuid(id: TaskId) -> Self {
        Self(id)
    }

    /// Its UUID, as that of a task.
    #[must_use]
    pub fn uuid(&self) -> TaskId {
        self.0
    }

    /// When the id was generated; `None` if not by [`BatchId::generate`].
    #[must_use]
    pub fn created_at(&self) -> Option<OffsetDateTime> {
        self.0.created_at()
    }

    /// The id of the task of the picture at `index`. It follows from the id of the batch, so that it need not be stored
    /// before the job is: a batch that broke off finds its tasks, and a retry gives each picture the same task.
    ///
    /// A UUIDv7 with the time of the batch, then the index, so that the tasks of a batch are in its order, and the tag of
    /// its owner; the other 42 bits are a digest, which only those can guess who have the id of the batch.
    #[must_use]
    pub fn item(&self, index: u16) -> TaskId {
        const TIME: u128 = ((1 << 48) - 1) << 80;
        const VERSION: u128 = 7 << 76;
        const VARIANT: u128 = 2 << 62;
        const TAG: u128 = 0xFFFF << 16;
        const REST: u128 = ((1 << 58) - 1) & !TAG;
        let mut hasher = Sha256Hasher::new();
        hasher.update(b"picture of a batch");
        hasher.update(self.0.uuid().as_bytes());
        hasher.update(index.to_be_bytes());
        let digest = hasher.finish();
        let mut rest = [0; 16];
        rest.copy_from_slice(&digest.as_bytes()[..16]);
        let (high, low) = (u128::from(index >> 4), u128::from(index & 0xF));
        let bits = self.0.uuid().as_u128() & (TIME | TAG)
            | VERSION
            | high << 64
            | VARIANT
            | low << 58
            | u128::from_be_bytes(rest) & REST;
        TaskId::from_bytes(bits.to_be_bytes())
    }
}

impl FromStr for BatchId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which picture of which batch a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchItem {
    /// The batch.
    pub batch_id: BatchId,
    /// The place of the picture in it, from 0.
    pub index: u16,
}

impl BatchItem {
    /// The id of its task.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        self.batch_id.item(self.index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_tasks_of_a_batch_are_in_its_order_and_of_its_age() {
        let batch = BatchId::generate();
        let ids: Vec<_> = (0..=u16::MAX).map(|index| batch.item(index)).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        for id in [ids[0], ids[15], ids[16], ids[4096], ids[65535]] {
            assert_eq!(id.uuid().get_version_num(), 7);
            assert_eq!(id.uuid().get_variant(), uuid::Variant::RFC4122);
            let age = id.created_at().unwrap() - batch.created_at().unwrap();
            assert!(age.abs() < time::Duration::milliseconds(1), "{age}");
        }
        assert_eq!(batch.item(7), batch.item(7));
        assert_ne!(BatchId::generate().item(7), batch.item(7));
    }

    #[test]
    fn a_batch_and_its_tasks_have_the_tag_of_their_owner() {
        let owner = KeyId::from_bytes([7; 6]);
        let batch = BatchId::generate_for(Some(owner));
        assert!(batch.uuid().may_belong_to(owner) && batch.item(3).may_belong_to(owner));
        assert_ne!(batch.item(3), batch.item(4));
    }

    /// Stored nowhere: they are computed again whenever they are needed.
    #[test]
    fn the_ids_stay_what_they_are() {
        let batch: BatchId = "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47".parse().unwrap();
        let ids = [0, 4095].map(|index| batch.item(index).to_string());
        assert_eq!(
            ids,
            ["0190b5a3-7c1e-7000-83bc-643d0c9ea995", "0190b5a3-7c1e-70ff-bc7a-8a160c9e9a99"]
        );
    }
}
