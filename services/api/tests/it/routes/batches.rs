//! Batches: many pictures in one request, followed to their end.

use std::fs;

use domain::{CallbackUrl, ModelName, TaskId};
use messaging::Ended;
use reqwest::{
    Body, Response, StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use testkit::{HttpServer, eventually, http_answer};
use tokio::sync::mpsc;

use crate::{
    app::{TEST_TIMEOUT, TestApp, bus_bytes, error_text, json},
    event_reader::{EventReader, follow_at},
};

const ZIPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zips");

fn picture(name: &str) -> Part {
    Part::bytes(bus_bytes()).file_name(name.to_owned())
}

fn gif() -> Vec<u8> {
    fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/header/1x1.gif")).unwrap()
}

async fn post_zip(app: &TestApp, path: &str, body: impl Into<Body>) -> Response {
    let request = app.client.post(app.url(path)).header("content-type", "application/zip");
    request.body(body).send().await.unwrap()
}

async fn accepted(answer: Response) -> Value {
    let (status, batch) = json(answer).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{batch}");
    batch
}

async fn get(app: &TestApp, batch: &Value) -> Value {
    let (status, found) = app.get(batch["links"]["self"].as_str().unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{found}");
    found
}

async fn results(app: &TestApp, batch: &Value) -> Vec<Value> {
    let url = app.url(batch["links"]["results"].as_str().unwrap());
    let answer = app.client.get(url).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    let text = answer.text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn task_id(line: &Value) -> TaskId {
    line["task_id"].as_str().unwrap_or_else(|| panic!("no task: {line}")).parse().unwrap()
}

async fn finished(app: &TestApp, batch: &Value) -> Value {
    eventually(TEST_TIMEOUT, async || {
        let found = get(app, batch).await;
        (found["state"] == "FINISHED").then_some(found)
    })
    .await
}

#[tokio::test]
async fn the_pictures_of_a_form_are_a_batch() {
    let app = TestApp::start().await;
    let form = Form::new()
        .text("classes", "bus")
        .text("metadata", r#"{"camera":"door"}"#)
        .text("items", r#"{"b.jpg": {"confidence": 0.5, "classes": "person"}}"#)
        .part("file", picture("a.jpg"))
        .part("another", picture("b.jpg"))
        .part("file", Part::bytes(&b"a text"[..]).file_name("notes.txt"))
        .text("else", "ignored");
    let answer = app.post("/v1/batches", form).await;
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let batch = accepted(answer).await;
    assert_eq!(location, batch["links"]["self"]);
    assert_eq!((&batch["state"], &batch["received"]), (&json!("RUNNING"), &json!(3)));
    assert_eq!((&batch["counts"]["pending"], &batch["counts"]["refused"]), (&json!(2), &json!(1)));
    assert_eq!(batch["refused"][0]["name"], "notes.txt");
    assert_eq!(batch["refused"][0]["type"], "urn:problem-type:spotter:invalid-picture");
    assert_eq!(app.jobs(), 2);

    let lines = results(&app, &batch).await;
    let names: Vec<_> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a.jpg", "b.jpg", "notes.txt"]);
    assert_eq!(lines[2]["error"]["type"], "urn:problem-type:spotter:invalid-picture");
    // Each is a task like any other.
    let (_, task) = app.get(lines[1]["links"]["self"].as_str().unwrap()).await;
    assert_eq!((&task["state"], &task["batch"]["index"]), (&json!("QUEUED"), &json!(1)));
    assert_eq!(
        (&task["batch"]["batch_id"], &task["metadata"]["camera"]),
        (&batch["batch_id"], &json!("door"))
    );
    let mut deliveries = app.worker_side().await.queue().deliveries([ModelName::default()]);
    let (first, second) = (deliveries.next(2).await, deliveries.next(1).await);
    assert_eq!(first.job.settings.classes.to_string(), "bus");
    assert_eq!(second.job.settings.classes.to_string(), "person");
    assert_eq!(second.job.settings.confidence.get(), 0.5);

    app.succeed(task_id(&lines[0])).await;
    let running = get(&app, &batch).await;
    assert_eq!(
        (&running["state"], &running["counts"]["succeeded"]),
        (&json!("RUNNING"), &json!(1))
    );
    app.fail(task_id(&lines[1]), "it does not decode").await;
    let batch = finished(&app, &batch).await;
    assert_eq!(
        batch["counts"],
        json!({ "pending": 0, "succeeded": 1, "failed": 1, "revoked": 0, "expired": 0, "refused": 1 })
    );
    let lines = results(&app, &batch).await;
    assert_eq!(lines[0]["objects"][0]["label"], "bus");
    assert_eq!(lines[1]["failure"]["message"], "it does not decode");
}

#[tokio::test]
async fn the_entries_of_an_archive_are_a_batch() {
    let app = TestApp::start_with(&[("MAX_BATCH_BYTES", "33554432")]).await;
    let expected: Value =
        serde_json::from_slice(&fs::read(format!("{ZIPS}/expected.json")).unwrap()).unwrap();
    for (name, expected) in expected.as_object().unwrap() {
        let archive = fs::read(format!("{ZIPS}/{name}")).unwrap();
        let part = || Part::bytes(archive.clone()).file_name("x.zip");
        let answers = [
            json(post_zip(&app, "/v1/batches", archive.clone()).await).await,
            // What does not begin as an archive is a picture of the form.
            json(app.post("/v1/batches", Form::new().part("file", part())).await).await,
        ];
        let is_archive = archive.starts_with(b"PK");
        for (status, answer) in answers.into_iter().take(if is_archive { 2 } else { 1 }) {
            let pictures = expected["pictures"].as_array().unwrap();
            let what = format!("{name}: {answer}");
            let batch = match expected["error"].as_str() {
                Some(words) => {
                    assert!(status.is_client_error(), "{status} {what}");
                    assert!(error_text(&answer).contains(words), "{what}");
                    answer["batch"].clone()
                }
                None if pictures.is_empty() => {
                    assert!(error_text(&answer).contains("no picture"), "{what}");
                    answer["batch"].clone()
                }
                None => {
                    assert_eq!(status, StatusCode::ACCEPTED, "{what}");
                    answer.clone()
                }
            };
            if pictures.is_empty() {
                assert!(batch.is_null(), "{what}");
                continue;
            }
            let lines = results(&app, &batch).await;
            // Programs differ in the order of files.
            let mut found: Vec<_> =
                lines.iter().map(|line| (line["name"].as_str().unwrap(), line)).collect();
            if name.starts_with("infozip")
                || name.starts_with("seven")
                || name.starts_with("bsdtar")
            {
                found.sort_by_key(|(name, _)| *name);
            }
            assert_eq!(found.len(), pictures.len(), "{what}");
            for ((found, line), picture) in found.into_iter().zip(pictures) {
                assert_eq!(found, picture[0].as_str().unwrap(), "{what}");
                match picture[1].as_str().unwrap() {
                    "ok" => assert_eq!(line["state"], "QUEUED", "{what}: {line}"),
                    words => assert!(error_text(&line["error"]).contains(words), "{what}: {line}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_list_of_urls_that_cannot_be_used_is_refused_as_a_whole() {
    let app = TestApp::start().await;
    let cases = [
        (json!({ "items": [] }), 400, "no-picture", None),
        (json!({ "item": [] }), 400, "no-picture", None),
        (
            json!({ "items": ["https://example.com/a.jpg", "http://example.com/b.jpg"] }),
            400,
            "invalid-parameter",
            Some("/items/1/url"),
        ),
        (
            json!({ "items": ["https://127.0.0.1/"] }),
            400,
            "invalid-parameter",
            Some("/items/0/url"),
        ),
        (
            json!({ "items": [{ "url": "https://example.com/", "iou": 7 }] }),
            400,
            "invalid-parameter",
            Some("/items/0/iou"),
        ),
        (
            json!({ "items": [{ "url": "https://example.com/", "image": "AAAA" }] }),
            400,
            "invalid-parameter",
            Some("/items/0/image"),
        ),
        (
            json!({ "items": ["https://example.com/"], "confidence": 7 }),
            400,
            "invalid-parameter",
            Some("confidence"),
        ),
    ];
    for (body, status, kind, pointer) in cases {
        let request = app.client.post(app.url("/v1/batches")).json(&body);
        let (answered, problem) = json(request.send().await.unwrap()).await;
        assert_eq!(answered.as_u16(), status, "{body}: {problem}");
        assert_eq!(
            problem["type"],
            format!("urn:problem-type:spotter:{kind}"),
            "{body}: {problem}"
        );
        assert_eq!(problem["errors"][0]["parameter"].as_str(), pointer, "{body}: {problem}");
        assert!(problem["batch"].is_null());
    }
    assert_eq!(app.jobs(), 0);
}

#[tokio::test]
async fn pictures_are_fetched_and_those_that_are_not_there_are_refused() {
    let server = HttpServer::start(|request| match request.path() {
        "/a.gif" => Some(http_answer("200 OK", "", &gif())),
        _ => Some(http_answer("404 Not Found", "", b"")),
    });
    let app = TestApp::start_with(&[("FETCH_ALLOW", &server.origin())]).await;
    let url = |path: &str| format!("{}{path}", server.origin());
    let body = json!({
        "items": [url("/a.gif"), { "url": url("/a.gif"), "name": "mine.gif", "priority": "high" }, url("/b.gif")],
        "priority": "low",
    });
    let request = app.client.post(app.url("/v1/batches")).json(&body);
    let batch = accepted(request.send().await.unwrap()).await;
    let lines = results(&app, &batch).await;
    assert_eq!((&lines[0]["name"], &lines[0]["priority"]), (&json!("a.gif"), &json!("low")));
    assert_eq!((&lines[1]["name"], &lines[1]["priority"]), (&json!("mine.gif"), &json!("high")));
    assert_eq!(lines[2]["error"]["type"], "urn:problem-type:spotter:url-status");
}

#[tokio::test]
async fn a_batch_that_breaks_off_says_what_was_accepted_and_can_be_continued() {
    let app = TestApp::start().await;
    let archive = fs::read(format!("{ZIPS}/python-streamed-stored.zip")).unwrap();
    let submit = async |body: &[u8]| {
        let request = app.client.post(app.url("/v1/batches"));
        let request = request.header("content-type", "application/zip");
        let request = request.header("idempotency-key", "batch-1").body(body.to_vec());
        json(request.send().await.unwrap()).await
    };
    // The first picture, and half of the header of the second.
    let (status, problem) = submit(&archive[..110]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    assert!(error_text(&problem).contains("ends early"), "{problem}");
    let broken = &problem["batch"];
    assert_eq!((&broken["received"], &broken["counts"]["pending"]), (&json!(1), &json!(1)));
    assert!(broken["interruption"].as_str().unwrap().contains("ends early"), "{broken}");
    let first = results(&app, broken).await;
    assert_eq!(first.len(), 1);
    // What was accepted is run, and then the batch has ended.
    app.succeed(task_id(&first[0])).await;
    assert_eq!(finished(&app, broken).await["counts"]["succeeded"], 1);

    let (status, batch) = submit(&archive).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{batch}");
    assert_eq!(batch["batch_id"], broken["batch_id"]);
    assert_eq!((&batch["received"], &batch["state"]), (&json!(2), &json!("RUNNING")));
    assert!(batch["interruption"].is_null());
    let lines = results(&app, &batch).await;
    assert_eq!(task_id(&lines[0]), task_id(&first[0]), "it is not run again");
    assert_eq!((&lines[0]["state"], &lines[1]["state"]), (&json!("SUCCESS"), &json!("QUEUED")));
    app.succeed(task_id(&lines[1])).await;
    let batch = finished(&app, &batch).await;
    assert_eq!(batch["counts"]["succeeded"], 2);

    // A complete batch is answered as it is, and other pictures or settings are refused.
    let (status, again) = submit(&archive).await;
    assert_eq!((status, &again), (StatusCode::ACCEPTED, &batch));
}

#[tokio::test]
async fn a_parameter_behind_a_picture_ends_the_batch_and_says_where_it_belongs() {
    let app = TestApp::start().await;
    for name in ["model", "items"] {
        let form = Form::new().part("file", picture("a.jpg")).text(name, "yolov8n");
        let form = form.part("file", picture("b.jpg"));
        let (status, problem) = json(app.post("/v1/batches", form).await).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
        let expected = format!("{name} must be before the first picture in the form");
        assert!(error_text(&problem).contains(&expected), "{problem}");
        let batch = &problem["batch"];
        assert_eq!((&batch["received"], &batch["counts"]["pending"]), (&json!(1), &json!(1)));
    }
    // The first picture of each is accepted, and run by the default model.
    assert_eq!(app.jobs(), 2);
}

#[tokio::test]
async fn a_retry_with_other_pictures_is_refused() {
    let app = TestApp::start().await;
    let submit = async |query: &str, body: &[u8]| {
        let request = app.client.post(app.url(&format!("/v1/batches{query}")));
        let request = request.header("content-type", "application/zip");
        let request = request.header("idempotency-key", "k").body(body.to_vec());
        json(request.send().await.unwrap()).await
    };
    let zip = |name: &str| fs::read(format!("{ZIPS}/{name}")).unwrap();
    let (status, broken) = submit("", &zip("truncated.zip")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(broken["batch"]["received"], 1);
    let (status, problem) = submit("?iou=0.5", &zip("python.zip")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let (status, problem) = submit("", &zip("paths.zip")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!((&problem["batch"]["received"], app.jobs()), (&json!(1), 1));
    // The same key of a task is another key.
    let request = app.client.post(app.url("/v1/tasks")).header("idempotency-key", "k");
    let request = request.multipart(Form::new().part("file", picture("a.jpg")));
    assert_eq!(request.send().await.unwrap().status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_client_that_disconnects_loses_nothing_that_was_accepted() {
    let app = TestApp::start().await;
    let archive = fs::read(format!("{ZIPS}/python-streamed-stored.zip")).unwrap();
    let (sender, segments) = mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = Body::wrap_stream(tokio_stream(segments));
    let url = app.url("/v1/batches");
    let request = app.client.post(url).header("content-type", "application/zip");
    let request = request.header("idempotency-key", "gone").body(body);
    let sending = tokio::spawn(request.send());
    sender.send(Ok(archive[..110].to_vec())).await.unwrap();
    eventually(TEST_TIMEOUT, async || (app.jobs() == 1).then_some(())).await;
    // Another request with the key must not take it from the first one.
    let request = app.client.post(app.url("/v1/batches")).header("content-type", "application/zip");
    let request = request.header("idempotency-key", "gone").body(archive.clone());
    let (status, problem) = json(request.send().await.unwrap()).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert_eq!(problem["type"], "urn:problem-type:spotter:batch-in-progress");
    sending.abort();
    drop(sender);
    let (_, list) = app.get("/v1/tasks").await;
    let batch_id = list["tasks"][0]["batch"]["batch_id"].as_str().unwrap().to_owned();
    let broken = eventually(TEST_TIMEOUT, async || {
        let (_, batch) = app.get(&format!("/v1/batches/{batch_id}")).await;
        (batch["state"] == "RUNNING").then_some(batch)
    })
    .await;
    assert_eq!(broken["received"], 1);
    assert!(broken["interruption"].is_string(), "{broken}");
}

fn tokio_stream<T>(receiver: mpsc::Receiver<T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|item| (item, receiver))
    })
}

#[tokio::test]
async fn a_batch_is_cancelled_with_its_tasks() {
    let app = TestApp::start().await;
    let form = Form::new().part("file", picture("a.jpg")).part("file", picture("b.jpg"));
    let batch = accepted(app.post("/v1/batches", form).await).await;
    let lines = results(&app, &batch).await;
    app.succeed(task_id(&lines[0])).await;
    let url = app.url(batch["links"]["self"].as_str().unwrap());
    let (status, cancelled) = json(app.client.delete(&url).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{cancelled}");
    assert_eq!(
        (&cancelled["cancelled"], &cancelled["counts"]["revoked"]),
        (&json!(true), &json!(1))
    );
    let ended = finished(&app, &batch).await;
    assert_eq!(
        (&ended["counts"]["succeeded"], &ended["counts"]["revoked"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(results(&app, &batch).await[1]["state"], "REVOKED");
    let (status, problem) = json(app.client.delete(&url).send().await.unwrap()).await;
    assert_eq!((status, &problem["batch"]), (StatusCode::CONFLICT, &ended));
}

#[tokio::test]
async fn a_batch_can_be_followed_and_waited_for() {
    let app = TestApp::start().await;
    let form = Form::new().part("file", picture("a.jpg")).part("file", picture("b.jpg"));
    let submitting = async {
        let request = app.client.post(app.url("/v1/batches")).header("prefer", "wait=30");
        let answer = request.multipart(form).send().await.unwrap();
        assert_eq!(answer.headers()["preference-applied"], "wait=30");
        json(answer).await
    };
    let running = async {
        let mut deliveries = app.worker_side().await.queue().deliveries([ModelName::default()]);
        let (first, second) = (deliveries.next(2).await, deliveries.next(1).await);
        let batch_id = first.job.batch.unwrap().batch_id;
        let path = format!("/v1/batches/{batch_id}/events");
        let mut events = EventReader::open_at(&app, &path, "").await;
        // The batch's record says a moment after the second job was stored that two pictures were received.
        while events.expect("progress").await.1["counts"]["pending"] != 2 {}
        app.succeed(first.job.task_id).await;
        app.succeed(second.job.task_id).await;
        let (mut name, mut id, mut last) = events.event().await;
        while name == "progress" {
            (name, id, last) = events.event().await;
        }
        assert_eq!((name.as_str(), &last["counts"]["succeeded"]), ("finished", &json!(2)));
        assert_eq!(events.block().await, None);
        let over = follow_at(&app, &path, &id).await;
        assert_eq!(over.status(), StatusCode::NO_CONTENT);
    };
    let ((status, batch), ()) = tokio::join!(submitting, running);
    assert_eq!((status, &batch["state"]), (StatusCode::OK, &json!("FINISHED")), "{batch}");
}

#[tokio::test]
async fn the_end_is_reported_once() {
    let app = TestApp::start_with(&[("WEBHOOKS", "on")]).await;
    let form = Form::new()
        .text("callback_url", "https://example.com/hook")
        .part("file", picture("a.jpg"))
        .part("file", picture("b.jpg"));
    let batch = accepted(app.post("/v1/batches", form).await).await;
    for line in results(&app, &batch).await {
        app.succeed(task_id(&line)).await;
    }
    finished(&app, &batch).await;
    let (sender, mut due) = mpsc::channel(8);
    let worker_side = app.worker_side().await;
    worker_side.webhooks().deliveries().take(8, &sender).await;
    let delivery = due.recv().await.unwrap();
    let Ended::Batch(record) = &delivery.ended else { panic!("{:?}", delivery.ended) };
    assert_eq!(record.batch_id.to_string(), batch["batch_id"].as_str().unwrap());
    assert_eq!(
        record.callback_url.as_ref().map(CallbackUrl::as_str),
        Some("https://example.com/hook")
    );
    assert_eq!(record.end.unwrap().counts.succeeded, 2);
    assert_eq!(app.nats.stream("WEBHOOKS").unwrap().messages, 1, "and none for each task");
}

#[tokio::test]
async fn batches_have_limits() {
    let settings = [("MAX_BATCH_ITEMS", "2"), ("MAX_BATCH_BYTES", "2000000")];
    let app = TestApp::start_with(&settings).await;
    let form = Form::new()
        .part("file", picture("a.jpg"))
        .part("file", picture("b.jpg"))
        .part("file", picture("c.jpg"));
    let (status, problem) = json(app.post("/v1/batches", form).await).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{problem}");
    assert_eq!(
        (&problem["batch"]["received"], &problem["batch"]["counts"]["pending"]),
        (&json!(2), &json!(2))
    );
    let list = json!({ "items": ["https://a/", "https://b/", "https://c/"] });
    let answer = app.client.post(app.url("/v1/batches")).json(&list).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let answer = post_zip(&app, "/v1/batches", vec![0; 4_000_000]).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let bomb = fs::read(format!("{ZIPS}/bomb.zip")).unwrap();
    let batch = accepted(post_zip(&app, "/v1/batches", bomb).await).await;
    assert_eq!(batch["counts"]["refused"], 1, "it is passed over");
    let request = app.client.post(app.url("/v1/batches")).header("content-type", "image/jpeg");
    let (status, problem) = json(request.body(bus_bytes()).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(error_text(&problem).contains("application/zip"), "{problem}");
}

#[tokio::test]
async fn batches_that_are_not_there_are_not_found() {
    let app = TestApp::start().await;
    let unknown = domain::BatchId::generate();
    for path in ["", "/results", "/events"] {
        let (status, problem) = app.get(&format!("/v1/batches/{unknown}{path}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {problem}");
        assert_eq!(problem["type"], "urn:problem-type:spotter:batch-unknown");
        let (status, _) = app.get(&format!("/v1/batches/x{path}")).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        // Longer ago than anything is kept.
        let old = "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47";
        let (status, _) = app.get(&format!("/v1/batches/{old}{path}")).await;
        assert_eq!(status, StatusCode::GONE, "{path}");
    }
}

#[tokio::test]
async fn a_slow_queue_slows_the_batch_down() {
    let app = TestApp::start_with(&[("QUEUE_MAX_MESSAGES", "1")]).await;
    let form = Form::new().part("file", picture("a.jpg")).part("file", picture("b.jpg"));
    let submitting = app.post("/v1/batches", form);
    let working = async {
        let mut deliveries = app.worker_side().await.queue().deliveries([ModelName::default()]);
        for _ in 0..2 {
            let delivery = deliveries.next(1).await;
            app.succeed(delivery.job.task_id).await;
            delivery.settle(messaging::Settlement::Ack).await.unwrap();
        }
    };
    let (answer, ()) = tokio::join!(submitting, working);
    let batch = accepted(answer).await;
    assert_eq!(finished(&app, &batch).await["counts"]["succeeded"], 2);
}

#[tokio::test]
async fn the_archives_of_a_form_share_their_limits() {
    let app = TestApp::start_with(&[("MAX_BATCH_ITEMS", "500")]).await;
    let folders = fs::read(format!("{ZIPS}/folders-only.zip")).unwrap();
    let archive = fs::read(format!("{ZIPS}/python.zip")).unwrap();
    // 1000 entries are allowed: folders count, though they are no pictures.
    let form = (0..1000).fold(Form::new(), |form, _| {
        form.part("file", Part::bytes(folders.clone()).file_name("f.zip"))
    });
    let form = form.part("file", Part::bytes(archive).file_name("a.zip"));
    let (status, problem) = json(app.post("/v1/batches", form).await).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{problem}");
    assert!(error_text(&problem).contains("entries"), "{problem}");
}

#[tokio::test]
async fn batches_are_listed_the_newest_first_in_pages() {
    let app = TestApp::start().await;
    assert_eq!(app.get("/v1/batches").await, (StatusCode::OK, json!({ "batches": [] })));
    let mut batches = Vec::new();
    for _ in 0..3 {
        let form = Form::new()
            .part("file", picture("a.jpg"))
            .part("file", Part::bytes(&b"a text"[..]).file_name("notes.txt"));
        batches.push(accepted(app.post("/v1/batches", form).await).await);
    }
    let ids = |list: &Value| -> Vec<String> {
        let batches = list["batches"].as_array().unwrap().iter();
        batches.map(|batch| batch["batch_id"].as_str().unwrap().to_owned()).collect()
    };
    let id_of = |index: usize| batches[index]["batch_id"].as_str().unwrap().to_owned();

    let (_, first) = app.get("/v1/batches?limit=2").await;
    assert_eq!(ids(&first), [id_of(2), id_of(1)]);
    // As the batch itself shows it, without the refused pictures.
    let mut shown = get(&app, &batches[2]).await;
    assert_eq!(shown.as_object_mut().unwrap().remove("refused").unwrap()[0]["index"], 1);
    assert_eq!(first["batches"][0], shown);
    let next = first["next"].as_str().unwrap();
    let (_, second) = app.get(&format!("/v1/batches?limit=2&cursor={next}")).await;
    assert_eq!((ids(&second), &second["next"]), (vec![id_of(0)], &Value::Null));
    let (_, all) = app.get("/v1/batches?limit=3").await;
    assert_eq!((ids(&all).len(), &all["next"]), (3, &Value::Null));

    for (query, name) in [("cursor=x", "cursor"), ("limit=0", "limit"), ("limit=101", "limit")] {
        let (status, problem) = app.get(&format!("/v1/batches?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(problem["detail"].as_str().unwrap().contains(name), "{query}: {problem}");
    }
}
