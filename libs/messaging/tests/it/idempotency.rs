//! Idempotency keys.

use std::collections::HashSet;

use domain::TaskId;
use messaging::Claim;

use crate::fixture::Fixture;

fn claim(fingerprint: &str) -> Claim {
    Claim { task_id: TaskId::generate(), fingerprint: fingerprint.to_owned() }
}

#[tokio::test]
async fn the_first_claim_holds() {
    let fixture = Fixture::start().await;
    let keys = fixture.messaging.idempotency_keys();
    let first = claim("a");
    assert_eq!(keys.claim("key", &first).await.unwrap(), first);
    assert_eq!(keys.claim("key", &claim("b")).await.unwrap(), first);
    assert_eq!(keys.claim("other", &claim("a")).await.unwrap().fingerprint, "a");
}

#[tokio::test]
async fn of_many_claims_at_once_one_holds() {
    let fixture = Fixture::start().await;
    let mut claims = Vec::new();
    for _ in 0..50 {
        let keys = fixture.messaging.idempotency_keys();
        claims.push(tokio::spawn(async move { keys.claim("key", &claim("a")).await.unwrap() }));
    }
    let mut holding = HashSet::new();
    for claim in claims {
        holding.insert(claim.await.unwrap().task_id);
    }
    assert_eq!(holding.len(), 1);
}
