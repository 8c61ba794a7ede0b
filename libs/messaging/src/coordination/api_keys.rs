//! The API keys: a bucket that an operator writes and that every API watches.

use std::time::Duration;

use async_nats::jetstream::kv::{self, Entry, Operation, Watch};
use domain::{ApiKey, ApiKeyToken, KeyId};
use futures_util::StreamExt;
use rand::Rng;
use time::OffsetDateTime;
use tokio::{
    sync::OnceCell,
    time::{Instant, interval_at},
};

use crate::{
    Messaging, MessagingError,
    provision::names::{KEY_BUCKET, KEY_STREAM},
};

/// How many keys there may be at a time: each API has all of them in memory.
pub const MAX_API_KEYS: usize = 1000;

/// How often a watch is compared with the bucket: one that has missed a change looks like one without changes.
const COMPARE_EVERY: Duration = Duration::from_secs(5);

/// A change of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKeyChange {
    /// These are all keys.
    All(Vec<ApiKey>),
    /// This key is there now.
    Added(Box<ApiKey>),
    /// This key was revoked, or its record cannot be read.
    Removed(KeyId),
}

/// Why no key was created.
#[derive(Debug, thiserror::Error)]
pub enum CreateKeyError {
    /// There are too many.
    #[error(
        "there are {MAX_API_KEYS} keys, which is the maximum: revoke those that are not used any more"
    )]
    TooMany,
    /// It could not be stored.
    #[error(transparent)]
    Messaging(#[from] MessagingError),
}

/// The API keys.
pub struct ApiKeys {
    messaging: Messaging,
    bucket: OnceCell<kv::Store>,
}

/// The state of the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BucketState {
    created_at: OffsetDateTime,
    messages: u64,
    last_sequence: u64,
}

/// A watch that has delivered all keys of its time.
struct StartedWatch {
    keys: Vec<ApiKey>,
    changes: Watch,
    state: BucketState,
    /// The sequence of the newest change that it has delivered.
    seen: u64,
}

impl ApiKeys {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging, bucket: OnceCell::new() }
    }

    /// A new token, of whose key nothing is stored yet.
    #[must_use]
    pub fn new_token() -> ApiKeyToken {
        let mut random = [0; 38];
        // Seeded by the system, and secure by its own documentation.
        rand::rng().fill_bytes(&mut random);
        ApiKeyToken::from_random(random)
    }

    /// Stores a new key.
    ///
    /// # Errors
    /// [`CreateKeyError`].
    pub async fn create(&self, key: &ApiKey) -> Result<(), CreateKeyError> {
        let what = "store an API key";
        if self.list().await?.len() >= MAX_API_KEYS {
            return Err(CreateKeyError::TooMany);
        }
        let json = serde_json::to_vec(key).map_err(|error| MessagingError::failed(what, error))?;
        let create = self.bucket().await?.create(key.id.to_string(), json.into());
        let created = self.messaging.within_write(what, KEY_STREAM, create).await?;
        created.map_err(|error| MessagingError::failed(what, error))?;
        Ok(())
    }

    /// Deletes a key; returns it, or `None` if there is none with this id.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn revoke(&self, id: KeyId) -> Result<Option<ApiKey>, MessagingError> {
        let what = "delete an API key";
        let Some(key) = self.list().await?.into_iter().find(|key| key.id == id) else {
            return Ok(None);
        };
        let delete = self.bucket().await?.delete(id.to_string());
        let deleted = self.messaging.within_write(what, KEY_STREAM, delete).await?;
        deleted.map_err(|error| MessagingError::failed(what, error))?;
        Ok(Some(key))
    }

    /// All keys, the oldest first.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn list(&self) -> Result<Vec<ApiKey>, MessagingError> {
        let mut keys = self.start().await?.keys;
        keys.sort_by_key(|key| (key.created_at, key.id));
        Ok(keys)
    }

    /// Passes all keys to `listener`, and then each change. Returns when the watch may have missed one: after a lost
    /// connection, or if it is not where the bucket is.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`]; following again is safe.
    pub async fn follow(
        &self,
        mut listener: impl FnMut(ApiKeyChange),
    ) -> Result<(), MessagingError> {
        let what = "watch the API keys";
        let mut link = self.messaging.link();
        let connects = link.borrow_and_update().connects;
        let StartedWatch { keys, mut changes, state, mut seen } = self.start().await?;
        listener(ApiKeyChange::All(keys));
        let mut compare = interval_at(Instant::now() + COMPARE_EVERY, COMPARE_EVERY);
        // What the bucket had at the last comparison, if the watch had less.
        let mut behind = None;
        loop {
            tokio::select! {
                entry = changes.next() => {
                    let Some(entry) = entry else { return Ok(()) };
                    let entry = entry.map_err(|error| MessagingError::failed(what, error))?;
                    seen = seen.max(entry.revision);
                    if let Some(change) = change(&entry) {
                        listener(change);
                    }
                }
                _ = compare.tick() => {
                    let present = self.state().await?;
                    let is_another = present.created_at != state.created_at || present.last_sequence < seen;
                    let was_behind = behind.is_some_and(|then| seen < then);
                    if is_another || was_behind {
                        return Ok(());
                    }
                    behind = Some(present.last_sequence);
                }
                changed = link.changed() => {
                    if changed.is_err() || link.borrow_and_update().connects != connects {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Watches the bucket, and waits for all keys that it has.
    async fn start(&self) -> Result<StartedWatch, MessagingError> {
        let what = "read the API keys";
        let state = self.state().await?;
        let watch = self.bucket().await?.watch_with_history(">");
        let mut changes = self.messaging.within(what, watch).await?;
        let (mut keys, mut seen) = (Vec::new(), 0);
        let mut is_complete = state.messages == 0;
        while !is_complete {
            let next = self.messaging.within_timeout(what, changes.next()).await?;
            let Some(entry) = next else { break };
            let entry = entry.map_err(|error| MessagingError::failed(what, error))?;
            (seen, is_complete) = (entry.revision, entry.seen_current);
            if let Some(ApiKeyChange::Added(key)) = change(&entry) {
                keys.push(*key);
            }
        }
        Ok(StartedWatch { keys, changes, state, seen })
    }

    async fn state(&self) -> Result<BucketState, MessagingError> {
        let what = "ask for the state of the API keys";
        let jetstream = self.messaging.jetstream();
        let stream = self.messaging.within(what, jetstream.get_stream_no_info(KEY_STREAM)).await?;
        let info = self.messaging.within(what, stream.get_info()).await?;
        Ok(BucketState {
            created_at: info.created,
            messages: info.state.messages,
            last_sequence: info.state.last_sequence,
        })
    }

    async fn bucket(&self) -> Result<&kv::Store, MessagingError> {
        let open = || self.messaging.jetstream().get_key_value(KEY_BUCKET);
        self.messaging
            .within("open the bucket of API keys", self.bucket.get_or_try_init(open))
            .await
    }
}

/// A record that cannot be read counts as none: its key is refused. `None` for an entry that no key has.
fn change(entry: &Entry) -> Option<ApiKeyChange> {
    let id = entry.key.parse::<KeyId>().ok()?;
    let key = match entry.operation {
        Operation::Put => serde_json::from_slice::<ApiKey>(&entry.value).ok(),
        Operation::Delete | Operation::Purge => None,
    };
    Some(match key {
        Some(key) if key.id == id => ApiKeyChange::Added(Box::new(key)),
        Some(_) | None => ApiKeyChange::Removed(id),
    })
}
