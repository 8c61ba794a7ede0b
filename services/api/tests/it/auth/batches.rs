//! Batches of API keys: who sees them, and what each of their pictures counts as.

use std::{fs, time::Instant};

use domain::{ApiKeyToken, BatchId, ModelName, Scope};
use messaging::Settlement;
use reqwest::{
    Body, Method, Response, StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use testkit::eventually;
use tokio::sync::mpsc;

use super::{Grant, get, get_json, header, key, kind, operator, post, request, start, submit};
use crate::app::{TEST_TIMEOUT, TestApp, bus_bytes, json};

const ARCHIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zips/python-streamed-stored.zip");

/// A form of so many pictures.
fn pictures(count: usize) -> Form {
    (0..count).fold(Form::new(), |form, number| {
        let picture = Part::bytes(bus_bytes()).file_name(format!("{number}.jpg"));
        form.part("file", picture)
    })
}

async fn send(app: &TestApp, token: &ApiKeyToken, count: usize) -> Response {
    let request = request(app, Method::POST, "/v1/batches", token);
    request.multipart(pictures(count)).send().await.unwrap()
}

/// The same with the Idempotency-Key `k`.
async fn send_again(app: &TestApp, token: &ApiKeyToken, count: usize) -> (StatusCode, Value) {
    let request = request(app, Method::POST, "/v1/batches", token).header("idempotency-key", "k");
    json(request.multipart(pictures(count)).send().await.unwrap()).await
}

async fn accepted(answer: Response) -> Value {
    let (status, batch) = json(answer).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{batch}");
    batch
}

fn link<'a>(batch: &'a Value, name: &str) -> &'a str {
    batch["links"][name].as_str().unwrap()
}

async fn tasks_of(app: &TestApp, batch: &Value, token: &ApiKeyToken) -> Vec<domain::TaskId> {
    let lines = get(app, link(batch, "results"), token).await.text().await.unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| line["task_id"].as_str()?.parse().ok()).collect()
}

/// For another key, a batch is as one that never was, on every route.
async fn assert_hidden(app: &TestApp, id: &str, token: &ApiKeyToken) {
    let unknown = BatchId::generate().to_string();
    let routes = [
        (Method::GET, ""),
        (Method::GET, "/results"),
        (Method::GET, "/events"),
        (Method::DELETE, ""),
    ];
    for (method, path) in routes {
        let of = async |id: &str| {
            let path = format!("/v1/batches/{id}{path}");
            json(request(app, method.clone(), &path, token).send().await.unwrap()).await
        };
        let (status, body) = of(id).await;
        assert_eq!(
            (status, kind(&body)),
            (StatusCode::NOT_FOUND, "batch-unknown"),
            "{method} {path}"
        );
        let (expected, other) = of(&unknown).await;
        let body = body.to_string().replace(id, &unknown);
        assert_eq!((status, body), (expected, other.to_string()), "{method} {path}");
    }
}

#[tokio::test]
async fn a_batch_is_visible_to_its_key_and_to_admin() {
    let app = start().await;
    let [owner, other] = [key(&app, Grant::default()).await, key(&app, Grant::default()).await];
    let admin = key(&app, Grant { scopes: vec![Scope::Admin], ..Grant::default() }).await;
    let batch = accepted(send(&app, &owner, 2).await).await;
    let id = batch["batch_id"].as_str().unwrap();
    let tasks = tasks_of(&app, &batch, &owner).await;
    assert_eq!(tasks.len(), 2);
    let (_, list) = get_json(&app, "/v1/tasks", &other).await;
    assert_eq!(list["tasks"], json!([]));
    // While it runs, and when it has ended.
    for state in ["RUNNING", "FINISHED"] {
        if state == "FINISHED" {
            app.succeed(tasks[0]).await;
            app.fail(tasks[1], "it does not decode").await;
        }
        for token in [&owner, &admin] {
            eventually(TEST_TIMEOUT, async || {
                let (status, found) = get_json(&app, link(&batch, "self"), token).await;
                assert_eq!(status, StatusCode::OK, "{found}");
                assert!(found["owner"].is_null(), "{found}");
                (found["state"] == state).then_some(())
            })
            .await;
            assert_eq!(tasks_of(&app, &batch, token).await, tasks);
            let events = get(&app, link(&batch, "events"), token).await;
            assert_eq!(events.status(), StatusCode::OK);
            let (_, list) = get_json(&app, "/v1/batches", token).await;
            assert_eq!(list["batches"][0]["batch_id"], id, "{list}");
            assert_eq!(list["batches"][0]["state"], state, "{list}");
        }
        assert_hidden(&app, id, &other).await;
        let (_, list) = get_json(&app, "/v1/batches", &other).await;
        assert_eq!(list, json!({ "batches": [] }));
        for task in &tasks {
            let (status, _) = get_json(&app, &format!("/v1/tasks/{task}"), &other).await;
            assert_eq!(status, StatusCode::NOT_FOUND);
        }
    }
    // What another key could not cancel, its own can.
    let batch = accepted(send(&app, &owner, 1).await).await;
    assert_hidden(&app, batch["batch_id"].as_str().unwrap(), &other).await;
    let (_, present) = get_json(&app, link(&batch, "self"), &owner).await;
    assert_eq!(present["cancelled"], false);
    let cancelling = request(&app, Method::DELETE, link(&batch, "self"), &owner);
    assert_eq!(cancelling.send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_idempotency_key_of_a_batch_is_each_api_keys_own() {
    let app = start().await;
    let [one, other] = [key(&app, Grant::default()).await, key(&app, Grant::default()).await];
    let (_, first) = send_again(&app, &one, 2).await;
    let (_, again) = send_again(&app, &one, 2).await;
    assert_eq!((&again["batch_id"], app.jobs()), (&first["batch_id"], 2));
    let (status, of_other) = send_again(&app, &other, 2).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{of_other}");
    assert_ne!(of_other["batch_id"], first["batch_id"]);
    assert_eq!(app.jobs(), 4);
    let (_, list) = get_json(&app, "/v1/tasks", &other).await;
    let listed: Vec<_> = list["tasks"].as_array().unwrap().iter().collect();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|task| task["batch"]["batch_id"] == of_other["batch_id"]));
}

#[tokio::test]
async fn a_key_that_may_not_submit_sends_no_batch() {
    let app = start().await;
    let reader = key(&app, Grant { scopes: vec![Scope::Read], ..Grant::default() }).await;
    let (status, problem) = json(send(&app, &reader, 1).await).await;
    assert_eq!((status, kind(&problem)), (StatusCode::FORBIDDEN, "scope-missing"), "{problem}");
    let form = app.client.post(app.url("/v1/batches")).multipart(pictures(1));
    assert_eq!(form.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(app.jobs(), 0);
}

#[tokio::test]
async fn each_picture_of_a_batch_counts_towards_the_quota() {
    let app = start().await;
    let token = key(&app, Grant { quota: Some(2), ..Grant::default() }).await;
    let submitting = send(&app, &token, 5);
    let working = async {
        let mut deliveries = app.worker_side().await.queue().deliveries([ModelName::default()]);
        for _ in 0..5 {
            let delivery = deliveries.next(1).await;
            let waiting = app.jobs();
            assert!(waiting <= 2, "{waiting} jobs, beyond the quota");
            app.succeed(delivery.job.task_id).await;
            delivery.settle(Settlement::Ack).await.unwrap();
        }
    };
    let (answer, ()) = tokio::join!(submitting, working);
    let batch = accepted(answer).await;
    assert_eq!(batch["received"], 5);
}

#[tokio::test]
async fn a_batch_beyond_its_quota_breaks_off_and_goes_on_later() {
    let app = TestApp::start_with(&[("AUTH", "keys"), ("BATCH_WAIT_SECONDS", "1")]).await;
    let token = key(&app, Grant { quota: Some(2), ..Grant::default() }).await;
    let (status, problem) = send_again(&app, &token, 3).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{problem}");
    assert_eq!(kind(&problem), "quota-exceeded", "{problem}");
    let broken = &problem["batch"];
    assert_eq!((&broken["received"], &broken["counts"]["pending"]), (&json!(2), &json!(2)));
    let interruption = broken["interruption"].as_str().unwrap();
    assert!(interruption.contains("quota"), "{interruption}");
    for id in tasks_of(&app, broken, &token).await {
        let path = format!("/v1/tasks/{id}");
        request(&app, Method::DELETE, &path, &token).send().await.unwrap();
    }
    let batch = eventually(TEST_TIMEOUT, async || {
        let (status, batch) = send_again(&app, &token, 3).await;
        (status == StatusCode::ACCEPTED).then_some(batch)
    })
    .await;
    assert_eq!(
        (&batch["received"], &batch["counts"]["revoked"]),
        (&json!(3), &json!(2)),
        "{batch}"
    );
}

#[tokio::test]
async fn a_batch_that_waits_for_its_quota_leaves_uploads_to_other_keys() {
    let app = TestApp::start_with(&[("AUTH", "keys"), ("MAX_CONCURRENT_UPLOADS", "3")]).await;
    let token = key(&app, Grant { quota: Some(1), ..Grant::default() }).await;
    let other = key(&app, Grant::default()).await;
    let submitting = send(&app, &token, 8);
    let others = async {
        eventually(TEST_TIMEOUT, async || {
            let waits = app.metric("spotter_submissions_total", "quota_exceeded").await;
            waits.filter(|count| *count > 0)
        })
        .await;
        for _ in 0..10 {
            submit(&app, &other).await;
        }
    };
    tokio::select! {
        answer = submitting => panic!("it has not waited: {answer:?}"),
        () = others => {}
    }
}

#[tokio::test]
async fn each_picture_of_a_batch_counts_towards_the_rate() {
    let app = start().await;
    let token = key(&app, Grant { rate: Some("8/h"), ..Grant::default() }).await;
    let answer = request(&app, Method::POST, "/v1/batches", &token)
        .header("idempotency-key", "k")
        .multipart(pictures(9))
        .send()
        .await
        .unwrap();
    let retry_after: u64 = header(&answer, "retry-after").parse().unwrap();
    assert!((61..=2 * 450).contains(&retry_after), "{retry_after}");
    let (status, problem) = json(answer).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{problem}");
    assert_eq!(kind(&problem), "rate-limited", "{problem}");
    // The request and five more; a quarter of the burst is left.
    let broken = &problem["batch"];
    assert_eq!((&broken["received"], app.jobs()), (&json!(6), 6), "{problem}");
    let self_link = link(broken, "self").to_owned();
    assert_eq!(get(&app, &self_link, &token).await.status(), StatusCode::OK, "it can be followed");
    // The pictures that were accepted do not count again, or a batch might never come to its end.
    let (status, problem) = send_again(&app, &token, 9).await;
    assert_eq!((status, &problem["batch"]["received"]), (StatusCode::TOO_MANY_REQUESTS, &json!(7)));
    let status = get(&app, &self_link, &token).await.status();
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "the rate is used up");
}

#[tokio::test]
async fn a_batch_is_received_at_the_rate_of_its_key() {
    let app = start().await;
    let token = key(&app, Grant { rate: Some("10/s,burst=1"), ..Grant::default() }).await;
    let began = Instant::now();
    let batch = accepted(send(&app, &token, 6).await).await;
    let took = began.elapsed();
    assert_eq!((&batch["received"], app.jobs()), (&json!(6), 6));
    // The first is the request itself.
    assert!(took.as_millis() >= 500, "five pictures in {took:?}");
}

#[tokio::test]
async fn a_batch_of_one_picture_counts_as_one_request() {
    let app = start().await;
    let token = key(&app, Grant { rate: Some("2/h"), ..Grant::default() }).await;
    accepted(send(&app, &token, 1).await).await;
    assert_eq!(post(&app, "/v1/tasks", &token).await.status(), StatusCode::ACCEPTED);
    assert_eq!(send(&app, &token, 1).await.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_the_batch_that_it_sends() {
    let app = start().await;
    let token = key(&app, Grant::default()).await;
    let admin = key(&app, Grant { scopes: vec![Scope::Admin], ..Grant::default() }).await;
    let archive = fs::read(ARCHIVE).unwrap();
    let (sender, segments) = mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = futures_util::stream::unfold(segments, async |mut segments| {
        segments.recv().await.map(|segment| (segment, segments))
    });
    let request = request(&app, Method::POST, "/v1/batches", &token);
    let request = request.header("content-type", "application/zip").body(Body::wrap_stream(body));
    let sending = tokio::spawn(request.send());
    // The first picture, and half of the header of the second.
    sender.send(Ok(archive[..110].to_vec())).await.unwrap();
    eventually(TEST_TIMEOUT, async || (app.jobs() == 1).then_some(())).await;
    assert!(operator(&app).await.api_keys().revoke(token.id()).await.unwrap().is_some());
    // It sends nothing more, and is told all the same.
    let answer = sending.await.unwrap().unwrap();
    let challenge = header(&answer, "www-authenticate");
    assert_eq!(challenge, "Bearer error=\"invalid_token\"");
    let (status, problem) = json(answer).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{problem}");
    assert_eq!(kind(&problem), "api-key-invalid", "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("revoked"), "{problem}");
    assert_eq!(problem["batch"]["received"], 1);
    drop(sender);
    // What was accepted is run.
    let tasks = tasks_of(&app, &problem["batch"], &admin).await;
    app.succeed(tasks[0]).await;
    let ended = eventually(TEST_TIMEOUT, async || {
        let (_, batch) = get_json(&app, link(&problem["batch"], "self"), &admin).await;
        (batch["state"] == "FINISHED").then_some(batch)
    })
    .await;
    assert_eq!(ended["counts"]["succeeded"], 1);
    assert!(ended["interruption"].as_str().unwrap().contains("revoked"), "{ended}");
}
