//! The bucket of API keys.

use domain::{ApiKey, ApiKeyToken, Scopes};
use messaging::{ApiKeyChange, ApiKeys, CreateKeyError, MAX_API_KEYS};
use testkit::eventually;
use time::OffsetDateTime;
use tokio::{sync::mpsc, time::timeout};

use crate::fixture::{Fixture, TIMEOUT};

/// A new key that is not stored, and its token.
pub(crate) fn api_key() -> (ApiKey, ApiKeyToken) {
    let token = ApiKeys::new_token();
    let key = ApiKey {
        id: token.id(),
        name: "a test".parse().unwrap(),
        secret_sha256: token.secret_sha256(),
        scopes: Scopes::default(),
        rate: None,
        quota: None,
        created_at: OffsetDateTime::now_utc(),
        expires_at: None,
    };
    (key, token)
}

#[test]
fn each_token_is_another_one() {
    let (one, other) = (ApiKeys::new_token(), ApiKeys::new_token());
    assert_ne!(one.id(), other.id());
    assert_ne!(one.secret_sha256(), other.secret_sha256());
}

#[tokio::test]
async fn keys_are_listed_until_they_are_revoked_and_their_secrets_are_not_stored() {
    let fixture = Fixture::start().await;
    let keys = fixture.messaging.api_keys();
    assert_eq!(keys.list().await.unwrap(), []);
    let (stored, mut secrets) = (api_key(), Vec::new());
    let others = [api_key(), api_key()];
    for (key, token) in [&stored].into_iter().chain(&others) {
        keys.create(key).await.unwrap();
        secrets.push(token.expose().rsplit_once('_').unwrap().1.to_owned());
    }
    assert_eq!(keys.list().await.unwrap().len(), 3);
    let stream = fixture.raw().await.get_stream("KV_keys").await.unwrap();
    for sequence in 1..=3 {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let text = String::from_utf8(message.payload.to_vec()).unwrap();
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
    }
    assert_eq!(keys.revoke(stored.0.id).await.unwrap(), Some(stored.0.clone()));
    assert_eq!(keys.revoke(stored.0.id).await.unwrap(), None);
    assert_eq!(keys.list().await.unwrap(), others.map(|(key, _)| key));
}

#[tokio::test]
async fn a_follower_is_told_all_keys_first_and_again_after_a_restart() {
    let mut fixture = Fixture::start().await;
    let api = fixture.messaging.clone();
    let (key, _) = api_key();
    api.api_keys().create(&key).await.unwrap();
    let (sender, mut changes) = mpsc::unbounded_channel();
    let following = tokio::spawn(async move {
        let keys = api.api_keys();
        loop {
            let _ = keys.follow(|change| drop(sender.send(change))).await;
            tokio::task::yield_now().await;
        }
    });
    let mut next = async || timeout(TIMEOUT, changes.recv()).await.unwrap().unwrap();
    assert_eq!(next().await, ApiKeyChange::All(vec![key.clone()]));
    // A record that is no key.
    let raw = fixture.raw().await;
    let bucket = raw.get_key_value("keys").await.unwrap();
    bucket.put(key.id.to_string(), "{}".into()).await.unwrap();
    assert_eq!(next().await, ApiKeyChange::Removed(key.id));
    fixture.server.restart();
    assert_eq!(next().await, ApiKeyChange::All(Vec::new()));
    following.abort();
}

#[tokio::test]
async fn there_are_no_more_keys_than_the_maximum() {
    let fixture = Fixture::start().await;
    let keys = fixture.messaging.api_keys();
    let client = async_nats::connect(fixture.server.url()).await.unwrap();
    for _ in 0..MAX_API_KEYS {
        let (key, _) = api_key();
        let json = serde_json::to_vec(&key).unwrap();
        client.publish(format!("$KV.keys.{}", key.id), json.into()).await.unwrap();
    }
    let stored = || fixture.server.stream("KV_keys").unwrap().messages;
    eventually(TIMEOUT, async || (stored() == MAX_API_KEYS as u64).then_some(())).await;
    let refused = keys.create(&api_key().0).await;
    assert!(matches!(refused, Err(CreateKeyError::TooMany)), "{refused:?}");
    assert_eq!(keys.list().await.unwrap().len(), MAX_API_KEYS);
}
