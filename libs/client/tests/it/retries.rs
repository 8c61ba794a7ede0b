//! Which answers lead to another request, and what the others are reported as.

use std::time::Duration;

use client::{CacheControl, Client, ClientError, State, Submission, Timeouts};
use domain::{DetectionSettings, TaskId};

use crate::scripted_api::{ScriptedApi, answer};

const ID: &str = "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47";

fn id() -> TaskId {
    ID.parse().unwrap()
}

fn task(state: &str) -> String {
    format!(
        r#"{{"task_id":"{ID}","state":"{state}","picture_name":"bus.jpg","model":"yolov8n",
            "submitted_at":"2026-01-01T00:00:00Z","attempts":0}}"#
    )
}

/// At once, so that the test need not wait.
const RETRY_NOW: &str = "retry-after: 0\r\n";

#[tokio::test]
async fn a_submission_is_retried_with_the_same_picture_while_the_api_is_busy() {
    let busy = answer("503 Service Unavailable", RETRY_NOW, r#"{"error":"the queue is full"}"#);
    let accepted = answer("202 Accepted", "", &task("QUEUED"));
    let api = ScriptedApi::start(vec![busy.clone(), busy, accepted]).await;
    let submission = Submission {
        settings: Some(DetectionSettings::default()),
        deadline: Some(Duration::from_secs(60)),
        idempotency_key: Some("order-1".to_owned()),
        cache_control: CacheControl::NoCache,
        ..Submission::new("bus.jpg", "the picture's bytes")
    };
    let task = api.client().submit_when_accepted(&submission).await.unwrap();
    assert_eq!((task.task_id, task.state), (id(), State::Queued));
    let requests = api.requests().await;
    assert_eq!(requests.len(), 3);
    for request in requests {
        let line = "POST /v1/tasks?confidence=0.25&iou=0.7&max_detections=300&deadline=60 HTTP/1.1";
        assert!(request.starts_with(line), "{request}");
        for part in ["idempotency-key: order-1", "cache-control: no-cache", "content-length: "] {
            assert!(request.contains(part), "{part}: {request}");
        }
        let form = r#"name="file"; filename="bus.jpg""#;
        assert!(request.contains(form) && request.contains("the picture's bytes"), "{request}");
    }
}

#[tokio::test]
async fn nothing_is_asked_for_that_was_not_said() {
    let api = ScriptedApi::start(vec![answer("202 Accepted", "", &task("QUEUED"))]).await;
    api.client().submit(&Submission::new("bus.jpg", "bytes")).await.unwrap();
    let request = &api.requests().await[0];
    assert!(request.starts_with("POST /v1/tasks HTTP/1.1"), "{request}");
    for part in ["idempotency-key", "cache-control"] {
        assert!(!request.contains(part), "{part}: {request}");
    }
}

#[tokio::test]
async fn a_submission_is_sent_once_where_it_may_have_been_accepted() {
    let half = answer("202 Accepted", "", &task("QUEUED")).replace("length: ", "length: 9");
    // A proxy in front, while the API restarts.
    let proxy = |status| answer(status, "", "<html>");
    let (bad, late) = (proxy("502 Bad Gateway"), proxy("504 Gateway Timeout"));
    for lost in [String::new(), half, bad, late] {
        let api = ScriptedApi::start(vec![lost]).await;
        let submission = Submission::new("bus.jpg", "bytes");
        let error = api.client().submit_when_accepted(&submission).await.unwrap_err();
        assert!(matches!(error, ClientError::NoAnswer(_)), "{error:?}");
        assert_eq!(api.requests().await.len(), 1);
    }
}

#[tokio::test]
async fn a_submission_with_a_key_is_sent_again_where_it_may_have_been_accepted() {
    let busy = answer("503 Service Unavailable", RETRY_NOW, r#"{"error":"the queue is full"}"#);
    let accepted = answer("202 Accepted", "", &task("QUEUED"));
    let api = ScriptedApi::start(vec![String::new(), busy, accepted]).await;
    let submission = Submission {
        idempotency_key: Some("order-1".to_owned()),
        ..Submission::new("bus.jpg", "bytes")
    };
    assert_eq!(api.client().submit_when_accepted(&submission).await.unwrap().task_id, id());
    assert_eq!(api.requests().await.len(), 3);
}

#[tokio::test]
async fn a_task_is_awaited_through_busy_and_absent_apis() {
    let answers = vec![
        answer("200 OK", "", &task("STARTED")),
        answer("503 Service Unavailable", RETRY_NOW, "cut").replace("length: ", "length: 9"),
        answer("200 OK", "", &task("SUCCESS")).replace("length: ", "length: 9"),
        answer("200 OK", "", &task("SUCCESS")),
    ];
    let api = ScriptedApi::start(answers).await;
    let task = api.client().await_terminal(id()).await.unwrap();
    assert_eq!(task.state, State::Success);
    for request in api.requests().await {
        assert!(request.starts_with(&format!("GET /v1/tasks/{ID}?wait=20 HTTP/1.1")), "{request}");
    }
}

#[tokio::test]
async fn what_will_not_get_better_is_reported_in_the_apis_words() {
    let cases = [
        (answer("404 Not Found", "", r#"{"error":"there is no task"}"#), "there is no task"),
        (answer("410 Gone", "", "<html>"), "the API answered 410 Gone"),
        (
            answer("200 OK", "", "<html>"),
            "unexpected answer: expected value at line 1 column 1; check that this is the address of a \
             spotter API",
        ),
    ];
    for (answer, expected) in cases {
        let api = ScriptedApi::start(vec![answer]).await;
        let error = api.client().await_terminal(id()).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn an_endless_answer_is_not_kept() {
    let api = ScriptedApi::start(vec![answer("200 OK", "", &" ".repeat(33 << 20))]).await;
    let error = api.client().await_terminal(id()).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unexpected(why) if why.contains("longer")), "{error:?}");
}

#[tokio::test]
async fn no_error_shows_the_address() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for base in [format!("http://bob:secret@{free}"), "bob:secret".to_owned()] {
        let client = Client::new(&base, Timeouts::default()).unwrap();
        let error = client.check().await.unwrap_err();
        for shown in [format!("{error} {error:?}"), format!("{client:?}")] {
            assert!(!shown.contains("secret"), "{shown}");
        }
        assert_eq!(error.is_transient(), base.starts_with("http"), "{error:?}");
    }
}
