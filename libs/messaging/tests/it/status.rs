//! Asking all processes for their status.

use domain::TaskState;
use messaging::{
    ApiStatus, EndedTotals, Messaging, MessagingConfig, PartStatus, ProcessIdentity, ProcessStatus,
    Role, StatusSurvey, WorkerStatus,
};
use testkit::eventually;
use time::OffsetDateTime;
use tokio::time::timeout;

use crate::fixture::{A_WHILE, Fixture, TIMEOUT, failure, job, success};

/// Answers requests for the status of a process of this name.
async fn answer(messaging: &Messaging, name: &str, part: PartStatus) {
    let process = ProcessIdentity::new(name.to_owned(), "1.0");
    let requests = messaging.status_requests(process).await.unwrap();
    tokio::spawn(requests.answer(move || part.clone()));
}

async fn survey(messaging: &Messaging) -> StatusSurvey {
    let asker = ProcessIdentity::new("asker".to_owned(), "1.0");
    messaging.status_survey(&asker).await.unwrap()
}

async fn next(survey: &mut StatusSurvey) -> ProcessStatus {
    timeout(TIMEOUT, survey.next()).await.expect("a process answers").unwrap()
}

#[tokio::test]
async fn each_process_answers_who_asks_and_no_other() {
    let fixture = Fixture::start().await;
    let other = MessagingConfig::new(fixture.server.url().parse().unwrap(), Role::Api);
    let other = Messaging::connect(other).await.unwrap();
    answer(&fixture.messaging, "worker", PartStatus::Worker(WorkerStatus::default())).await;
    answer(&other, "api", PartStatus::Api(ApiStatus { accepted: 7, ..ApiStatus::default() })).await;
    eventually(TIMEOUT, async || {
        (fixture.server.subscribers("status.requests") == 2).then_some(())
    })
    .await;
    let (mut asks, mut silent) = (survey(&other).await, survey(&other).await);
    for _ in 0..2 {
        asks.ask().await.unwrap();
        let mut answers = [next(&mut asks).await, next(&mut asks).await];
        answers.sort_by(|one, other| one.process.name.cmp(&other.process.name));
        let [api, worker] = answers;
        assert_eq!((api.process.name.as_str(), worker.process.name.as_str()), ("api", "worker"));
        assert!(matches!(api.part, PartStatus::Api(ApiStatus { accepted: 7, .. })), "{api:?}");
        assert!(matches!(worker.part, PartStatus::Worker(_)), "{worker:?}");
    }
    assert!(timeout(A_WHILE, silent.next()).await.is_err(), "nobody answers who has not asked");
}

#[tokio::test]
async fn the_tasks_that_a_process_has_ended_are_counted_once() {
    let fixture = Fixture::start().await;
    let tasks = fixture.messaging.tasks();
    let (succeeded, failed) = (job(), job());
    tasks.finish(&success(&succeeded)).await.unwrap();
    tasks.finish(&failure(&failed)).await.unwrap();
    // Another record was first.
    tasks.finish(&failure(&succeeded)).await.unwrap();
    let cached = success(&job());
    assert!(tasks.create_terminal(&cached).await.unwrap());
    assert!(!tasks.create_terminal(&cached).await.unwrap());
    let finished_at = OffsetDateTime::UNIX_EPOCH;
    for state in [TaskState::Revoked { finished_at }, TaskState::Expired { finished_at }] {
        tasks.finish(&success(&job()).with_state(state)).await.unwrap();
    }
    answer(&fixture.messaging, "worker", PartStatus::Worker(WorkerStatus::default())).await;
    let mut survey = survey(&fixture.messaging).await;
    survey.ask().await.unwrap();
    let expected = EndedTotals { succeeded: 2, failed: 1, revoked: 1, expired: 1 };
    assert_eq!(next(&mut survey).await.ended, expected);
}

#[tokio::test]
async fn what_is_no_status_is_passed_over() {
    let fixture = Fixture::start().await;
    answer(&fixture.messaging, "worker", PartStatus::Worker(WorkerStatus::default())).await;
    fixture.server.wait_until_subscribed("status.requests").await;
    // Requests without a reply subject, or with one that is not for answers, are not answered.
    let mut elsewhere = fixture.subscribe("status.answersx").await;
    let client = async_nats::connect(fixture.server.url()).await.unwrap();
    client.publish("status.requests", "".into()).await.unwrap();
    for reply in ["status.answersx", "jobs.yolov8n.x"] {
        client.publish_with_reply("status.requests", reply, "".into()).await.unwrap();
    }
    client.flush().await.unwrap();
    let asker = ProcessIdentity::new("asker".to_owned(), "1.0");
    let mut survey = fixture.messaging.status_survey(&asker).await.unwrap();
    let subject = format!("status.answers.{}", asker.instance);
    fixture.server.wait_until_subscribed(&subject).await;
    for payload in ["", "{}", r#"{"part":{"printer":{}}}"#] {
        client.publish(subject.clone(), payload.into()).await.unwrap();
    }
    client.flush().await.unwrap();
    survey.ask().await.unwrap();
    assert_eq!(next(&mut survey).await.process.name, "worker");
    assert_eq!(fixture.server.stream("JOBS").unwrap().messages, 0);
    assert!(timeout(A_WHILE, futures_util::StreamExt::next(&mut elsewhere)).await.is_err());
}
