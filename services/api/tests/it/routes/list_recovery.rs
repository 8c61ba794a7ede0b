//! Lists after the records that their index was made of are gone.

use domain::TaskId;
use reqwest::StatusCode;
use serde_json::Value;
use testkit::eventually;

use crate::app::{TEST_TIMEOUT, TestApp, bus_bytes, json};

/// Tasks that have a record as soon as they are submitted.
async fn submit_many(app: &TestApp, count: usize) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let request = app.client.post(app.url("/v1/tasks?metadata=%7B%22a%22%3A1%7D"));
        let request = request.header("Content-Type", "image/jpeg").body(bus_bytes());
        let (status, task) = json(request.send().await.unwrap()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{task}");
        ids.push(task["task_id"].as_str().unwrap().parse().unwrap());
    }
    ids.reverse();
    ids
}

/// Ids and states of a list.
fn listed(list: &Value) -> Vec<(TaskId, &str)> {
    let tasks = list["tasks"].as_array().unwrap_or_else(|| panic!("no list: {list}")).iter();
    let task = |task: &'_ Value| task["task_id"].as_str().unwrap().parse().unwrap();
    tasks.map(|found| (task(found), found["state"].as_str().unwrap())).collect()
}

fn ask_server(app: &TestApp, subject: &str) {
    let answer = app.nats.request(subject, "").expect("an answer");
    assert!(answer.contains("\"success\":true"), "{answer}");
}

#[tokio::test]
async fn a_list_has_the_jobs_of_the_queue_when_their_records_were_purged() {
    let app = TestApp::start().await;
    let submitted = submit_many(&app, 3).await;
    app.succeed(submitted[1]).await;
    let (_, list) = app.get("/v1/tasks").await;
    let states = [0, 1, 2].map(|index| listed(&list)[index].1);
    assert_eq!(states, ["QUEUED", "SUCCESS", "QUEUED"]);

    ask_server(&app, "$JS.API.STREAM.PURGE.KV_tasks");
    // No worker has taken the job of any of them.
    for _ in 0..2 {
        let (status, list) = app.get("/v1/tasks").await;
        assert_eq!(status, StatusCode::OK, "{list}");
        let expected = [0, 1, 2].map(|index| (submitted[index], "QUEUED"));
        assert_eq!(listed(&list), expected, "as requests for these tasks say");
    }
    // A state of the new time is indexed as before.
    app.fail(submitted[0], "it is broken").await;
    let (_, list) = app.get("/v1/tasks?state=FAILURE").await;
    assert_eq!(listed(&list), [(submitted[0], "FAILURE")]);
}

#[tokio::test]
async fn a_list_is_refused_while_the_records_stream_is_gone_and_is_built_anew_with_it() {
    let app = TestApp::start().await;
    let submitted = submit_many(&app, 2).await;
    app.succeed(submitted[0]).await;
    let (_, list) = app.get("/v1/tasks").await;
    assert_eq!(listed(&list).len(), 2);

    ask_server(&app, "$JS.API.STREAM.DELETE.KV_tasks");
    let (status, problem) = app.get("/v1/tasks").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "no task may seem never to have been");
    assert_eq!(problem["type"], "urn:problem-type:spotter:unavailable", "{problem}");

    app.worker_side().await.provision(["yolov8n".parse().unwrap()]).await.unwrap();
    let list = eventually(TEST_TIMEOUT, async || {
        let (status, list) = app.get("/v1/tasks").await;
        (status == StatusCode::OK).then_some(list)
    })
    .await;
    // `succeed` has stored a record only: the jobs of both are in the queue.
    assert_eq!(listed(&list), [(submitted[0], "QUEUED"), (submitted[1], "QUEUED")]);
    let newer = submit_many(&app, 1).await;
    app.succeed(newer[0]).await;
    let (_, list) = app.get("/v1/tasks?state=SUCCESS").await;
    assert_eq!(listed(&list), [(newer[0], "SUCCESS")]);
}
