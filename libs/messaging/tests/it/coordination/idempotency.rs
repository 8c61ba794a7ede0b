//! Idempotency keys.

use std::collections::HashSet;

use domain::{Sha256Digest, TaskId};
use messaging::Claimed;

use crate::fixture::{Fixture, submission};

fn key() -> Sha256Digest {
    Sha256Digest::of("key")
}

#[tokio::test]
async fn the_first_claim_holds() {
    let fixture = Fixture::start().await;
    let keys = fixture.messaging.idempotency_keys();
    let (first, second) = (TaskId::generate(), TaskId::generate());
    let (bus, cat) = (submission("bus.jpg"), submission("cat.jpg"));
    assert_eq!(keys.claim(key(), first, &bus).await.unwrap(), Claimed::Task(first));
    assert_eq!(keys.claim(key(), second, &bus).await.unwrap(), Claimed::Task(first));
    assert_eq!(keys.claim(key(), second, &cat).await.unwrap(), Claimed::ByAnotherSubmission);
    let other = Sha256Digest::of("other");
    assert_eq!(keys.claim(other, second, &cat).await.unwrap(), Claimed::Task(second));
}

#[tokio::test]
async fn of_many_claims_at_once_one_holds() {
    let fixture = Fixture::start().await;
    let mut claims = Vec::new();
    for _ in 0..50 {
        let keys = fixture.messaging.idempotency_keys();
        claims.push(tokio::spawn(async move {
            keys.claim(key(), TaskId::generate(), &submission("bus.jpg")).await.unwrap()
        }));
    }
    let mut holding = HashSet::new();
    for claim in claims {
        let Claimed::Task(task_id) = claim.await.unwrap() else { panic!("it is the same") };
        holding.insert(task_id);
    }
    assert_eq!(holding.len(), 1);
}

/// The form without a version and version 1, of `submission("bus.jpg")`.
const UNVERSIONED: &str = "ea0ff78ba9949f9327053942c2c654917befccc622c4a58d5c46f9a344dc2be2";
const VERSION_1: &str = "c9c7a099dbf1b809ac043e0e1c1471c8b42117bd9902260afd041ad269fecead";

/// Claims the key for `submission("bus.jpg")` where an API of another version has claimed it before.
async fn claim_after(fields: &str) -> Claimed {
    let fixture = Fixture::start().await;
    let json = format!(r#"{{"task_id":"{}",{fields}}}"#, TaskId::generate());
    let stored = fixture.server.request(&format!("$KV.idempotency.{}", key()), &json).unwrap();
    assert!(stored.contains("KV_idempotency"), "{stored}");
    let keys = fixture.messaging.idempotency_keys();
    keys.claim(key(), TaskId::generate(), &submission("bus.jpg")).await.unwrap()
}

#[tokio::test]
async fn a_retry_is_honest_across_an_upgrade() {
    let zeros = "0".repeat(64);
    for honest in [
        // By an API that knew no versions.
        format!(r#""fingerprint":"{UNVERSIONED}""#),
        // By one whose types had other names.
        format!(r#""fingerprint":"{zeros}","fingerprints":{{"1":"{VERSION_1}"}}"#),
        // By one that knows a newer form, too, or only newer forms.
        format!(r#""fingerprints":{{"1":"{VERSION_1}","2":"{zeros}"}},"more":true"#),
        format!(r#""fingerprints":{{"2":"{zeros}"}}"#),
    ] {
        assert!(matches!(claim_after(&honest).await, Claimed::Task(_)), "{honest}");
    }
}

#[tokio::test]
async fn another_submission_is_told_apart_across_an_upgrade() {
    let zeros = "0".repeat(64);
    for another in [
        format!(r#""fingerprint":"{zeros}""#),
        r#""fingerprint":"no digest""#.to_owned(),
        format!(r#""fingerprint":"{UNVERSIONED}","fingerprints":{{"1":"{zeros}"}}"#),
    ] {
        assert_eq!(claim_after(&another).await, Claimed::ByAnotherSubmission, "{another}");
    }
}
