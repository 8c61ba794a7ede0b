//! Shadow jobs and comparisons: bounded, delivered at most once, and away from the queue of jobs.

use bytes::Bytes;
use domain::{ComparedRun, Comparison, ModelComparison, ModelName, TaskId};
use messaging::{Messaging, ShadowDeliveries, ShadowJob};
use testkit::eventually;
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::fixture::{Fixture, TIMEOUT, picture};

pub(crate) fn shadow_model() -> ModelName {
    "yolo11n".parse().unwrap()
}

pub(crate) fn comparison(a: &str, b: &str) -> ModelComparison {
    let run = |model: &str| ComparedRun {
        model: model.parse().unwrap(),
        digest: [1; 32].into(),
        infer_ms: 1.5,
    };
    ModelComparison {
        task_id: TaskId::generate(),
        compared_at: OffsetDateTime::UNIX_EPOCH,
        a: run(a),
        b: run(b),
        comparison: Comparison::default(),
    }
}

/// The next shadow job, also if none comes for a while.
pub(crate) async fn next_shadow_job(deliveries: &mut ShadowDeliveries) -> ShadowJob {
    let next = async {
        loop {
            if let Some(job) = deliveries.next().await {
                return job;
            }
        }
    };
    timeout(TIMEOUT, next).await.expect("a shadow job is delivered")
}

async fn publish(messaging: &Messaging) -> TaskId {
    let id = TaskId::generate();
    messaging.shadow_jobs().publish(&shadow_model(), id, picture()).await.unwrap();
    id
}

/// A fixture with what shadow runs need.
async fn start() -> Fixture {
    let fixture = Fixture::start().await;
    fixture.messaging.provision_shadow(&shadow_model()).await.unwrap();
    fixture
}

fn stored(fixture: &Fixture, stream: &str) -> u64 {
    fixture.server.stream(stream).unwrap().messages
}

#[tokio::test]
async fn a_shadow_job_is_delivered_once_to_one_of_those_who_take_them() {
    let fixture = start().await;
    let mut deliveries = fixture.messaging.shadow_jobs().deliveries(shadow_model());
    let ids = [publish(&fixture.messaging).await, publish(&fixture.messaging).await];
    // The same one again: the worker that has stored its result was asked twice.
    fixture.messaging.shadow_jobs().publish(&shadow_model(), ids[0], picture()).await.unwrap();
    for task_id in ids {
        let expected = ShadowJob { task_id, picture: picture() };
        assert_eq!(next_shadow_job(&mut deliveries).await, expected);
    }
    eventually(TIMEOUT, async || (stored(&fixture, "SHADOW_JOBS") == 0).then_some(())).await;
    assert_eq!(fixture.depth().await, (0, 0));
}

#[tokio::test]
async fn a_full_stream_drops_the_oldest_and_accepts_the_next() {
    const LIMIT: u64 = 1000;
    let fixture = start().await;
    let mut ids = Vec::new();
    for _ in 0..LIMIT + 2 {
        ids.push(publish(&fixture.messaging).await);
    }
    assert_eq!(stored(&fixture, "SHADOW_JOBS"), LIMIT);
    let mut deliveries = fixture.messaging.shadow_jobs().deliveries(shadow_model());
    assert_eq!(next_shadow_job(&mut deliveries).await.task_id, ids[2]);
}

#[tokio::test]
async fn a_message_that_is_no_shadow_job_is_dropped_and_those_of_other_models_are_left() {
    let fixture = start().await;
    let raw = fixture.raw().await;
    for subject in ["shadow_jobs.yolo11n.x", "shadow_jobs.other.x"] {
        raw.publish(subject, Bytes::new()).await.unwrap().await.unwrap();
    }
    let id = publish(&fixture.messaging).await;
    let mut deliveries = fixture.messaging.shadow_jobs().deliveries(shadow_model());
    assert_eq!(next_shadow_job(&mut deliveries).await.task_id, id);
    eventually(TIMEOUT, async || (stored(&fixture, "SHADOW_JOBS") == 1).then_some(())).await;
}

#[tokio::test]
async fn without_its_stream_a_shadow_job_is_refused_at_once() {
    let fixture = Fixture::configured(|config| config.request_timeout = TIMEOUT).await;
    let publish = async {
        let jobs = fixture.messaging.shadow_jobs();
        jobs.publish(&shadow_model(), TaskId::generate(), picture()).await
    };
    let refused = timeout(TIMEOUT / 2, publish).await.expect("it does not wait for an answer");
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn comparisons_are_read_by_the_pair_of_models() {
    let fixture = Fixture::start().await;
    let comparisons = fixture.messaging.comparisons();
    let [a, b, c]: [ModelName; 3] = ["a", "b", "c"].map(|name| name.parse().unwrap());
    assert_eq!(comparisons.of(&a, &b).await.unwrap(), [], "nothing was ever compared");
    fixture.messaging.provision_shadow(&b).await.unwrap();
    assert_eq!(comparisons.of(&a, &b).await.unwrap(), []);
    let all = [comparison("a", "b"), comparison("c", "b"), comparison("a", "b")];
    for one in &all {
        comparisons.store(one).await.unwrap();
    }
    let raw = fixture.raw().await;
    raw.publish("model_comparisons.a.b.x", "not JSON".into()).await.unwrap().await.unwrap();
    assert_eq!(comparisons.of(&a, &b).await.unwrap(), [all[0].clone(), all[2].clone()]);
    assert_eq!(comparisons.of(&c, &b).await.unwrap(), [all[1].clone()]);
    assert_eq!(comparisons.of(&b, &a).await.unwrap(), []);
}
