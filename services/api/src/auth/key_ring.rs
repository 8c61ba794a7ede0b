//! All keys, in memory, as the bucket has them.

use std::{
    collections::HashMap,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{ApiKey, KeyId, PresentedKey};
use messaging::{ApiKeyChange, ApiKeys, MAX_API_KEYS};
use parking_lot::RwLock;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::limiter::{Limiter, Overrun};

/// The pause before a watch that has ended begins again.
const WATCH_PAUSE: Duration = Duration::from_millis(200);

/// A key, and what this process has seen of it.
pub(crate) struct KnownKey {
    pub(crate) key: ApiKey,
    pub(super) limiter: Option<Limiter>,
    requests: AtomicU64,
}

/// All keys. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct KeyRing {
    keys: Arc<RwLock<HashMap<KeyId, Arc<KnownKey>>>>,
}

/// Why a presented key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// There is no such key, or the secret is another one.
    Unknown,
    Expired,
}

impl KnownKey {
    fn new(key: ApiKey) -> Self {
        let limiter = key.rate.map(Limiter::new);
        Self { key, limiter, requests: AtomicU64::new(0) }
    }

    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn unexpired(self: Arc<Self>) -> Result<Arc<Self>, Unusable> {
        // Most keys never expire, and need no time.
        if self.key.expires_at.is_some() && self.key.is_expired(OffsetDateTime::now_utc()) {
            return Err(Unusable::Expired);
        }
        Ok(self)
    }
}

impl KeyRing {
    /// The key that was presented.
    pub(super) fn find(&self, presented: &PresentedKey) -> Result<Arc<KnownKey>, Unusable> {
        let known = self.keys.read().get(&presented.id).cloned().ok_or(Unusable::Unknown)?;
        if !known.key.is_presented_by(presented) {
            return Err(Unusable::Unknown);
        }
        known.unexpired()
    }

    /// The key of this id, which a request has presented before.
    pub(super) fn usable(&self, id: KeyId) -> Result<Arc<KnownKey>, Unusable> {
        let known = self.keys.read().get(&id).cloned().ok_or(Unusable::Unknown)?;
        known.unexpired()
    }

    /// Counts `more` requests of this key at once. One that has been withdrawn meanwhile is not counted.
    pub(crate) fn charge(&self, id: KeyId, more: NonZero<u32>) -> Result<(), Overrun> {
        let Ok(known) = self.usable(id) else { return Ok(()) };
        known.limiter.as_ref().map_or(Ok(()), |limiter| limiter.admit_more(more))
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.read().len()
    }

    /// The requests of each key.
    pub(crate) fn requests(&self) -> Vec<(KeyId, u64)> {
        let keys = self.keys.read();
        keys.iter().map(|(id, known)| (*id, known.requests.load(Ordering::Relaxed))).collect()
    }

    /// Applies a change. A key that stays as it is keeps what is counted of it.
    pub(crate) fn apply(&self, change: ApiKeyChange) {
        let mut keys = self.keys.write();
        match change {
            ApiKeyChange::All(all) => {
                let mut before = std::mem::take(&mut *keys);
                for key in all {
                    let known = before.remove(&key.id);
                    insert(&mut keys, key, known);
                }
            }
            ApiKeyChange::Added(key) => {
                let known = keys.get(&key.id).cloned();
                insert(&mut keys, *key, known);
            }
            ApiKeyChange::Removed(id) => {
                keys.remove(&id);
            }
        }
    }
}

fn insert(keys: &mut HashMap<KeyId, Arc<KnownKey>>, key: ApiKey, known: Option<Arc<KnownKey>>) {
    if keys.len() >= MAX_API_KEYS && !keys.contains_key(&key.id) {
        tracing::warn!(key = %key.id, "there are more than {MAX_API_KEYS} API keys: this one is refused");
        return;
    }
    let known = known.filter(|known| known.key == key);
    keys.insert(key.id, known.unwrap_or_else(|| Arc::new(KnownKey::new(key))));
}

/// Follows the bucket until `shutdown`. Where it cannot be read, as without a connection, the known keys stay.
pub(crate) async fn watch(ring: KeyRing, keys: ApiKeys, shutdown: CancellationToken) {
    let following = async {
        loop {
            if let Err(error) = keys.follow(|change| ring.apply(change)).await {
                tracing::debug!(%error, "watching the API keys again");
            }
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    };
    tokio::select! {
        () = following => {}
        () = shutdown.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use domain::{ApiKeyToken, Scopes};

    use super::*;

    fn key(byte: u8) -> (ApiKey, PresentedKey) {
        let token = ApiKeyToken::from_random([byte; 38]);
        let key = ApiKey {
            id: token.id(),
            name: "a key".parse().unwrap(),
            secret_sha256: token.secret_sha256(),
            scopes: Scopes::default(),
            rate: Some("1/h".parse().unwrap()),
            quota: None,
            created_at: OffsetDateTime::UNIX_EPOCH,
            expires_at: None,
        };
        (key, PresentedKey::parse(token.expose()).unwrap())
    }

    #[test]
    fn a_key_is_found_until_it_is_removed_or_expires() {
        let (ring, (one, presented), (other, of_other)) = (KeyRing::default(), key(1), key(2));
        let found = |presented| ring.find(presented).map(|known| known.key.id);
        assert_eq!(found(&presented), Err(Unusable::Unknown));
        ring.apply(ApiKeyChange::Added(Box::new(one.clone())));
        assert_eq!(found(&presented), Ok(one.id));
        let forged = PresentedKey { id: one.id, ..of_other };
        assert_eq!(found(&forged), Err(Unusable::Unknown));
        let expired = ApiKey { expires_at: Some(OffsetDateTime::UNIX_EPOCH), ..one.clone() };
        ring.apply(ApiKeyChange::Added(Box::new(expired)));
        assert_eq!(found(&presented), Err(Unusable::Expired));
        ring.apply(ApiKeyChange::All(vec![one.clone(), other.clone()]));
        assert_eq!((found(&presented), found(&of_other)), (Ok(one.id), Ok(other.id)));
        ring.apply(ApiKeyChange::Removed(one.id));
        assert_eq!((found(&presented), ring.len()), (Err(Unusable::Unknown), 1));
        ring.apply(ApiKeyChange::All(Vec::new()));
        assert_eq!(found(&of_other), Err(Unusable::Unknown));
    }

    #[test]
    fn reading_all_keys_again_resets_no_limit() {
        let (ring, (key, presented)) = (KeyRing::default(), key(1));
        let admit = || ring.find(&presented).unwrap().limiter.as_ref().unwrap().admit().is_ok();
        ring.apply(ApiKeyChange::All(vec![key.clone()]));
        assert_eq!((admit(), admit()), (true, false));
        ring.apply(ApiKeyChange::All(vec![key.clone()]));
        assert!(!admit());
        let wider = ApiKey { rate: Some("2/h".parse().unwrap()), ..key };
        ring.apply(ApiKeyChange::Added(Box::new(wider)));
        assert!(admit());
    }

    #[test]
    fn there_are_no_more_keys_than_the_maximum() {
        let ring = KeyRing::default();
        for number in 0..=MAX_API_KEYS {
            let (mut key, _) = key(1);
            let [_, _, bytes @ ..] = (number as u64).to_be_bytes();
            key.id = KeyId::from_bytes(bytes);
            ring.apply(ApiKeyChange::Added(Box::new(key)));
        }
        assert_eq!(ring.len(), MAX_API_KEYS);
    }
}
