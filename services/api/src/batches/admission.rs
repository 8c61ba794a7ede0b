//! Whether another picture of a batch may be submitted, by the API key that the batch is sent with.

use super::AT_A_TIME;
use crate::{
    auth::{
        KeyRing,
        allowance::{Allowance, Permit, Withdrawn},
    },
    tasks::{submit::Submitter, waiting::WaitingJobs},
};

/// What the key of a batch allows. Without a key, everything.
pub(super) struct Admission {
    allowance: Option<Allowance>,
    /// The key, if it has a quota, and that.
    quota: Option<(Submitter, u32)>,
    waiting: WaitingJobs,
}

impl Admission {
    pub(super) fn new(
        keys: Option<&KeyRing>,
        submitter: Option<Submitter>,
        waiting: WaitingJobs,
    ) -> Self {
        let allowance = keys.zip(submitter);
        let allowance = allowance.map(|(ring, key)| Allowance::new(ring.clone(), key.key));
        let quota = submitter.and_then(|submitter| Some((submitter, submitter.quota?)));
        Self { allowance, quota, waiting }
    }

    /// Whether the key can still be used.
    pub(super) fn check(&self) -> Result<(), Withdrawn> {
        self.allowance.as_ref().map_or(Ok(()), Allowance::check)
    }

    /// Counts one more picture, if it may be submitted.
    pub(super) fn take(&mut self) -> Permit {
        self.allowance.as_mut().map_or(Permit::Granted, Allowance::take)
    }

    /// How many pictures may be under way, of which so many are. Where the quota is nearly used up, one: pictures that wait
    /// for it are in memory, and have the places of other keys' uploads.
    pub(super) fn places(&self, under_way: usize) -> usize {
        let Some((submitter, quota)) = self.quota else { return AT_A_TIME };
        let under_way = u32::try_from(under_way).unwrap_or(u32::MAX);
        let left = quota.saturating_sub(under_way);
        // The pictures under way keep that current. To ask the server here would hold them up.
        match self.waiting.is_known_to_be_exhausted(submitter.key, left) {
            true => 1,
            false => AT_A_TIME,
        }
    }
}
