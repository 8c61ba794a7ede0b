//! Lists of tasks, and cancelling.

use client::{ClientError, State, TaskQuery};
use time::macros::datetime;

use crate::scripted_api::{ScriptedApi, answer};

const ID: &str = "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47";

fn task(state: &str) -> String {
    format!(
        r#"{{"task_id":"{ID}","state":"{state}","picture_name":"bus.jpg","model":"yolov8n",
            "submitted_at":"2026-01-01T00:00:00Z","attempts":0}}"#
    )
}

#[tokio::test]
async fn a_list_is_read_page_by_page_with_its_filters() {
    let first = format!(r#"{{"tasks":[{}],"next":"a-b"}}"#, task("QUEUED"));
    let last = r#"{"tasks":[]}"#;
    let api = ScriptedApi::start(vec![answer("200 OK", "", &first), answer("200 OK", "", last)]);
    let api = api.await;
    let query = TaskQuery {
        states: vec![State::Queued, State::Started],
        model: Some("mine".parse().unwrap()),
        submitted_after: Some(datetime!(2026-01-01 00:00 +02:00)),
        submitted_before: None,
        metadata: vec!["camera=north & south".to_owned()],
    };
    let client = api.client();
    let mut pages = client.tasks(&query);
    assert_eq!(pages.next(1000).await.unwrap()[0].state, State::Queued);
    assert!(pages.has_more());
    assert!(pages.next(7).await.unwrap().is_empty() && !pages.has_more());
    assert!(pages.next(7).await.unwrap().is_empty(), "the list has ended");
    let requests = api.requests().await;
    let filters = "/v1/tasks?state=QUEUED&state=STARTED&model=mine\
        &submitted_after=2026%2D01%2D01T00%3A00%3A00%2B02%3A00&metadata=camera%3Dnorth%20%26%20south";
    for (request, page) in requests.iter().zip(["&limit=100 HTTP", "&limit=7&cursor=a%2Db HTTP"]) {
        assert!(request.starts_with(&format!("GET {filters}{page}")), "{request}");
    }
}

#[tokio::test]
async fn a_task_that_has_ended_cannot_be_cancelled() {
    let ended = answer("409 Conflict", "", r#"{"detail":"the task has ended"}"#);
    let api = ScriptedApi::start(vec![answer("200 OK", "", &task("REVOKED")), ended]).await;
    let id = ID.parse().unwrap();
    assert_eq!(api.client().cancel(id).await.unwrap().state, State::Revoked);
    let error = api.client().cancel(id).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 409, .. }), "{error:?}");
    for request in api.requests().await {
        assert!(request.starts_with(&format!("DELETE /v1/tasks/{ID} HTTP/1.1")), "{request}");
    }
}
