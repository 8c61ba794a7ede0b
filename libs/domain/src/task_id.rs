//! The ids of tasks.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{KeyId, KeyTag};

/// Where an id has the tag of its owner: behind the time and the counter by which ids are in order.
const TAG: usize = 12;

/// The id of a task: a UUIDv7, which has the age of the task even when its record has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(Uuid);

/// A text that is not a UUID in the hyphenated form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a task id is a UUID such as 0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47, got '{0}'")]
pub struct InvalidTaskId(pub String);

impl TaskId {
    /// A new id, of the present time and random bits.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// A new id of a task that belongs to a key. It has a tag of that key in place of 16 of its random bits, so that the
    /// ids of jobs in the queue tell whose they are, without a read of each job.
    #[must_use]
    pub fn generate_for(owner: KeyId) -> Self {
        let mut bytes = Uuid::now_v7().into_bytes();
        bytes[TAG..TAG + 2].copy_from_slice(&owner.tag());
        Self::from_bytes(bytes)
    }

    /// The tag of the owner, if the task has one; otherwise random bits.
    #[must_use]
    pub fn owner_tag(&self) -> KeyTag {
        let bytes = self.0.as_bytes();
        [bytes[TAG], bytes[TAG + 1]]
    }

    /// Whether the task may belong to this key. One of 65,536 other ids also has the key's tag.
    #[must_use]
    pub fn may_belong_to(&self, owner: KeyId) -> bool {
        self.owner_tag() == owner.tag()
    }

    /// When the id was generated; `None` if not by [`TaskId::generate`].
    #[must_use]
    pub fn created_at(&self) -> Option<OffsetDateTime> {
        if self.0.get_version_num() != 7 {
            return None;
        }
        let (seconds, nanoseconds) = self.0.get_timestamp()?.to_unix();
        let nanoseconds = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()
    }

    /// The id with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The least id that may be generated at this time or later.
    #[must_use]
    pub fn first_at(time: OffsetDateTime) -> Self {
        const VERSION: u128 = 7 << 76;
        const VARIANT: u128 = 2 << 62;
        // An id has milliseconds.
        let milliseconds = time.unix_timestamp_nanos().div_euclid(1_000_000);
        let is_later = time.unix_timestamp_nanos().rem_euclid(1_000_000) > 0;
        let milliseconds = (milliseconds + i128::from(is_later)).clamp(0, (1 << 48) - 1);
        let milliseconds = milliseconds.unsigned_abs();
        Self(Uuid::from_u128(milliseconds << 80 | VERSION | VARIANT))
    }

    /// The UUID itself.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.0
    }

    /// Its last byte, which is random.
    #[must_use]
    pub fn random_byte(&self) -> u8 {
        self.0.as_bytes()[15]
    }
}

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `Uuid` also parses braces and URNs; clients get the 36-character form only.
        match Uuid::try_parse(text) {
            Ok(uuid) if text.len() == 36 => Ok(Self(uuid)),
            _ => Err(InvalidTaskId(text.to_owned())),
        }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_its_age() {
        let before = OffsetDateTime::now_utc();
        let created = TaskId::generate().created_at().unwrap();
        assert!((created - before).abs() < time::Duration::seconds(5), "{created} vs {before}");
    }

    #[test]
    fn ids_are_in_the_order_of_their_times() {
        let id = TaskId::generate();
        let born = id.created_at().unwrap();
        let millisecond = time::Duration::MILLISECOND;
        assert!(TaskId::first_at(born) <= id);
        assert!(TaskId::first_at(born - time::Duration::NANOSECOND) <= id);
        assert!(TaskId::first_at(born + time::Duration::NANOSECOND) > id);
        assert!(TaskId::first_at(born + millisecond) > id);
        assert_eq!(TaskId::first_at(born).created_at(), Some(born));
        let year_0 = time::macros::datetime!(0000-01-01 00:00 UTC);
        let year_9999 = time::macros::datetime!(9999-12-31 23:59:59 UTC);
        assert!(TaskId::first_at(year_0) < id && id < TaskId::first_at(year_9999));
    }

    #[test]
    fn an_id_tells_whose_it_may_be_and_stays_in_order() {
        let [one, other] = [[1; 6], [2; 6]].map(KeyId::from_bytes);
        let ids: Vec<_> = (0..1000).map(|_| TaskId::generate_for(one)).collect();
        assert!(ids.iter().all(|id| id.may_belong_to(one) && !id.may_belong_to(other)));
        assert!(ids.is_sorted() && ids.iter().all(|id| id.created_at().is_some()));
        let unowned = (0..1000).filter(|_| TaskId::generate().may_belong_to(one)).count();
        assert!(unowned < 10, "{unowned} of 1000");
    }

    #[test]
    fn a_foreign_uuid_is_an_id_without_an_age() {
        let id: TaskId = "f94c7d98-80c4-4e5d-b543-a6fa2ca332b3".parse().unwrap();
        assert_eq!(id.created_at(), None);
    }

    #[test]
    fn only_the_hyphenated_form_is_an_id() {
        let id = TaskId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "abc", &id.uuid().simple().to_string(), &format!("{{{id}}}"), "../etc"] {
            assert_eq!(bad.parse::<TaskId>(), Err(InvalidTaskId(bad.to_owned())));
        }
    }
}
