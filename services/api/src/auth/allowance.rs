//! What a key may still submit while its batch arrives: each picture counts as a request, and a key that is revoked
//! meanwhile submits nothing more.

use std::time::{Duration, Instant};

use domain::KeyId;

use super::{
    key_ring::{KeyRing, Unusable},
    limiter::LimitState,
};

/// How much of a key's burst a batch leaves to other requests of the key, such as those that follow the batch: a quarter.
const KEPT_FREE: u32 = 4;

/// What the key of one request may submit.
pub(crate) struct Allowance {
    ring: KeyRing,
    key: KeyId,
    /// Whether the request itself, which the guard has counted, is still to be used for a picture.
    has_own: bool,
    /// Not before this, to leave something to other requests.
    not_before: Option<Instant>,
}

/// Whether one more picture may be submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permit {
    Granted,
    /// Not yet: after this time it may.
    After(Duration),
    /// The key cannot be used any more.
    Withdrawn(Withdrawn),
}

/// Why a key that was good cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Withdrawn {
    #[error("the API key was revoked while the batch arrived")]
    Revoked,
    #[error("the API key has expired while the batch arrived")]
    Expired,
}

impl From<Unusable> for Withdrawn {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Unknown => Self::Revoked,
            Unusable::Expired => Self::Expired,
        }
    }
}

impl Allowance {
    /// That of a request with this key, which the guard has counted.
    pub(crate) fn new(ring: KeyRing, key: KeyId) -> Self {
        Self { ring, key, has_own: true, not_before: None }
    }

    /// Whether the key can still be used.
    pub(crate) fn check(&self) -> Result<(), Withdrawn> {
        Ok(self.ring.usable(self.key).map(drop)?)
    }

    /// Counts one more picture, if it is granted.
    pub(crate) fn take(&mut self) -> Permit {
        let known = match self.ring.usable(self.key) {
            Ok(known) => known,
            Err(unusable) => return Permit::Withdrawn(unusable.into()),
        };
        if std::mem::take(&mut self.has_own) {
            return Permit::Granted;
        }
        let Some(limiter) = &known.limiter else { return Permit::Granted };
        let left = self.not_before.map(|time| time.saturating_duration_since(Instant::now()));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Permit::After(left);
        }
        match limiter.admit() {
            Ok(state) => {
                self.not_before = pause(state).map(|pause| Instant::now() + pause);
                Permit::Granted
            }
            Err(state) => Permit::After(state.reset()),
        }
    }
}

/// How long the next picture waits, so that some of the burst is left. `None`: it need not.
fn pause(state: LimitState) -> Option<Duration> {
    let missing = (state.burst() / KEPT_FREE + 1).saturating_sub(state.remaining());
    (missing > 0).then(|| state.interval().saturating_mul(missing))
}

#[cfg(test)]
mod tests {
    use domain::{ApiKey, ApiKeyToken, Scopes};
    use messaging::ApiKeyChange;
    use time::OffsetDateTime;

    use super::*;

    fn ring_with(rate: Option<&str>) -> (KeyRing, ApiKey) {
        let token = ApiKeyToken::from_random([7; 38]);
        let key = ApiKey {
            id: token.id(),
            name: "a key".parse().unwrap(),
            secret_sha256: token.secret_sha256(),
            scopes: Scopes::default(),
            rate: rate.map(|rate| rate.parse().unwrap()),
            quota: None,
            created_at: OffsetDateTime::UNIX_EPOCH,
            expires_at: None,
        };
        let ring = KeyRing::default();
        ring.apply(ApiKeyChange::All(vec![key.clone()]));
        (ring, key)
    }

    /// How many pictures are granted at once, up to 100, and what there is then.
    fn granted(allowance: &mut Allowance) -> (u32, Permit) {
        let mut count = 0;
        loop {
            match allowance.take() {
                Permit::Granted if count < 100 => count += 1,
                permit => return (count, permit),
            }
        }
    }

    #[test]
    fn pictures_use_up_the_rate_except_for_a_quarter_of_the_burst() {
        // The rate, how many pictures of a request pass at once, and how many requests pass after them.
        let cases =
            [("1/h", 1, 0), ("3/h", 3, 0), ("4/h", 3, 1), ("8/h", 6, 2), ("1/h,burst=40", 30, 10)];
        for (rate, pictures, others) in cases {
            let (ring, key) = ring_with(Some(rate));
            let limiter = |ring: &KeyRing| ring.usable(key.id).unwrap();
            let admit = || limiter(&ring).limiter.as_ref().unwrap().admit().is_ok();
            assert!(admit(), "the request itself");
            let (count, then) = granted(&mut Allowance::new(ring.clone(), key.id));
            assert_eq!(count, pictures, "{rate}");
            let Permit::After(wait) = then else { panic!("{rate}: {then:?}") };
            assert!(wait > Duration::from_secs(60), "{rate}: {wait:?}");
            assert_eq!((0..100).take_while(|_| admit()).count(), others, "{rate}");
        }
    }

    #[test]
    fn a_key_without_a_rate_has_no_limit_until_it_is_withdrawn() {
        let (ring, key) = ring_with(None);
        let mut allowance = Allowance::new(ring.clone(), key.id);
        assert_eq!(granted(&mut allowance), (100, Permit::Granted));
        let expired = ApiKey { expires_at: Some(OffsetDateTime::UNIX_EPOCH), ..key.clone() };
        ring.apply(ApiKeyChange::Added(Box::new(expired)));
        assert_eq!(allowance.take(), Permit::Withdrawn(Withdrawn::Expired));
        ring.apply(ApiKeyChange::Removed(key.id));
        assert_eq!(allowance.take(), Permit::Withdrawn(Withdrawn::Revoked));
        assert_eq!(allowance.check(), Err(Withdrawn::Revoked));
    }

    #[test]
    fn a_request_with_one_picture_counts_once() {
        let (ring, key) = ring_with(Some("1/h"));
        assert_eq!(Allowance::new(ring, key.id).take(), Permit::Granted);
    }
}
