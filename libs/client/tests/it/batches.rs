//! Batches: which answers lead to another request, following them, and their results.

use std::{path::Path, time::Duration};

use client::{Batch, BatchState, BatchSubmission, ClientError, PictureFile};
use domain::{BatchId, DetectionSettings, Priority};

use crate::scripted_api::{ScriptedApi, answer};

const ID: &str = "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47";
const TASK: &str = "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b48";

/// At once, so that the test need not wait.
const RETRY_NOW: &str = "retry-after: 0\r\n";

fn id() -> BatchId {
    ID.parse().unwrap()
}

fn batch(state: &str, pending: u32) -> String {
    let succeeded = 2 - pending;
    format!(
        r#"{{"batch_id":"{ID}","state":"{state}","created_at":"2026-01-01T00:00:00Z","received":2,
        "counts":{{"pending":{pending},"succeeded":{succeeded},"failed":0,"revoked":0,"expired":0,"refused":0}},
        "cancelled":false,"links":{{"self":"/v1/batches/x","events":"e","results":"r"}}}}"#
    )
    .replace('\n', "")
}

fn problem(kind: &str, batch: &str) -> String {
    format!(
        r#"{{"type":"urn:problem-type:spotter:{kind}","title":"t","status":1,"detail":"why not"{batch}}}"#
    )
}

fn submission(folder: &Path) -> BatchSubmission {
    let file = |name: &str, content: &str| {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        PictureFile { path, name: name.to_owned(), bytes: content.len() as u64 }
    };
    BatchSubmission {
        pictures: vec![file("a.jpg", "the first picture"), file("b.jpg", "the second picture")],
        settings: Some(DetectionSettings::default()),
        priority: Priority::High,
        idempotency_key: "key-1".to_owned(),
    }
}

#[tokio::test]
async fn a_batch_is_continued_with_the_same_key_until_all_is_received() {
    let folder = tempfile::tempdir().unwrap();
    let answers = vec![
        answer("503 Service Unavailable", RETRY_NOW, &problem("queue-full", "")),
        answer("409 Conflict", RETRY_NOW, &problem("batch-in-progress", "")),
        String::new(),
        answer("202 Accepted", "", &batch("RUNNING", 2)),
    ];
    let api = ScriptedApi::start(answers).await;
    let (client, submission) = (api.client(), submission(folder.path()));
    let received = client.submit_batch_when_accepted(&submission, |_| {}).await.unwrap();
    assert_eq!((received.batch_id, received.state), (id(), BatchState::Running));
    let requests = api.requests().await;
    assert_eq!(requests.len(), 4);
    for request in requests {
        let line =
            "POST /v1/batches?confidence=0.25&iou=0.7&max_detections=300&priority=high HTTP/1.1";
        assert!(request.starts_with(line), "{request}");
        for part in [
            "idempotency-key: key-1",
            "content-length: ",
            "filename=\"a.jpg\"\r\n\r\nthe first picture\r\n",
            "filename=\"b.jpg\"\r\n\r\nthe second picture\r\n",
        ] {
            assert!(request.contains(part), "{part}: {request}");
        }
    }
}

#[tokio::test]
async fn what_ends_a_batch_for_good_tells_what_of_it_was_received() {
    let folder = tempfile::tempdir().unwrap();
    let with_batch = format!(r#","batch":{}"#, batch("RUNNING", 2));
    let cases = [
        ("413 Payload Too Large", "too-large", with_batch.as_str(), Some(2)),
        ("409 Conflict", "batch-cancelled", with_batch.as_str(), Some(2)),
        ("422 Unprocessable Entity", "idempotency-key-reused", "", None),
    ];
    for (status, kind, batch, received) in cases {
        let api = ScriptedApi::start(vec![answer(status, "", &problem(kind, batch))]).await;
        let submission = submission(folder.path());
        let why = api.client().submit_batch_when_accepted(&submission, |_| {}).await.unwrap_err();
        assert!(matches!(&why.error, ClientError::Refused { message, .. } if message == "why not"));
        assert_eq!(why.batch.map(|batch| batch.received), received, "{kind}");
        assert_eq!(api.requests().await.len(), 1, "{kind}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_any_more_is_no_lost_connection() {
    let shorten: fn(&Path) = |path| std::fs::write(path, "short").unwrap();
    let delete: fn(&Path) = |path| std::fs::remove_file(path).unwrap();
    let cases = [(shorten, "it has become shorter"), (delete, "No such file")];
    for (change, reason) in cases {
        let folder = tempfile::tempdir().unwrap();
        let submission = submission(folder.path());
        change(&folder.path().join("b.jpg"));
        let api = ScriptedApi::start(vec![String::new()]).await;
        let why = api.client().submit_batch_when_accepted(&submission, |_| {}).await.unwrap_err();
        let is_told = |text: &str| text.contains("b.jpg cannot be sent: ") && text.contains(reason);
        assert!(matches!(&why.error, ClientError::File(text) if is_told(text)), "{why:?}");
        assert!(!why.error.is_transient());
        // There is no other answer: a second request would have found no API.
        assert_eq!(api.requests().await.len(), 1, "{reason}");
    }
}

#[tokio::test]
async fn a_batch_is_followed_through_busy_apis_and_broken_connections() {
    let event = |name: &str, batch: &str| format!("id: 1\nevent: {name}\ndata: {batch}\n\n");
    let first = event("progress", &batch("RUNNING", 2));
    let second = event("progress", &batch("RUNNING", 1));
    let last = event("finished", &batch("FINISHED", 0));
    let answers = vec![
        answer("503 Service Unavailable", RETRY_NOW, &problem("unavailable", "")),
        answer("200 OK", "", &format!(": comment\n\n{first}{second}"))
            .replace("length: ", "length: 9"),
        answer("200 OK", "", &last),
    ];
    let api = ScriptedApi::start(answers).await;
    let mut ended = Vec::new();
    let client = api.client();
    let finished = client.await_batch(id(), |batch: &Batch| ended.push(batch.ended())).await;
    assert!(finished.unwrap().is_finished());
    assert_eq!(ended, [0, 1, 2]);
    assert_eq!(api.requests().await.len(), 3);
}

#[tokio::test]
async fn results_that_break_off_are_continued_where_they_did() {
    let first = format!(
        r#"{{"index":0,"name":"a.jpg","task_id":"{TASK}","state":"SUCCESS","picture_name":"a.jpg",
        "model":"yolov8n","submitted_at":"2026-01-01T00:00:00Z","attempts":1}}"#
    );
    let first = first.replace('\n', "");
    let second = r#"{"index":1,"name":"b.txt","error":{"type":"t","detail":"it is no picture"}}"#;
    let half = &second[..20];
    let answers = vec![
        answer("200 OK", "", &format!("{first}\n{half}")).replace("length: ", "length: 9"),
        answer("200 OK", "", &format!("{first}\n{second}\n")),
    ];
    let api = ScriptedApi::start(answers).await;
    let mut results = api.client().batch_results(id(), 2);
    let result = results.next().await.unwrap().unwrap();
    assert_eq!((result.index, result.name.as_str()), (0, "a.jpg"));
    assert_eq!(result.outcome.unwrap().task_id.to_string(), TASK);
    let result = results.next().await.unwrap().unwrap();
    assert_eq!((result.index, result.outcome), (1, Err("it is no picture".to_owned())));
    assert!(results.next().await.unwrap().is_none());
    assert_eq!(api.requests().await.len(), 2);
}

#[tokio::test]
async fn the_api_says_by_seconds_or_by_a_date_when_to_come_back() {
    for (header, wait) in [
        ("retry-after: 7\r\n", Some(7)),
        ("retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Some(0)),
        ("retry-after: soon\r\n", None),
    ] {
        let busy = answer("503 Service Unavailable", header, &problem("queue-full", ""));
        let api = ScriptedApi::start(vec![busy]).await;
        let error = api.client().check().await.unwrap_err();
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs), "{header}");
    }
}
