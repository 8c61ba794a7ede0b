//! The versioned routes.

use std::time::Duration;

use domain::{DetectionSettings, ModelName, TaskId};
use reqwest::{StatusCode, header};
use testkit::eventually;
use uuid::{NoContext, Timestamp, Uuid};

use crate::app::{TEST_TIMEOUT, TestApp, bus_form, json};

#[tokio::test]
async fn a_submission_says_where_the_task_is() {
    let app = TestApp::start().await;
    let answer = app.post("/v1/tasks", bus_form()).await;
    let location = answer.headers()[header::LOCATION].to_str().unwrap().to_owned();
    let (status, task) = json(answer).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(location, format!("/v1/tasks/{}", task["task_id"].as_str().unwrap()));
    assert_eq!((task["state"].as_str(), task["model"].as_str()), (Some("QUEUED"), Some("yolov8n")));

    let (status, mut found) = app.get(&location).await;
    found.as_object_mut().unwrap().remove("max_jobs_ahead");
    assert_eq!((status, found), (StatusCode::OK, task));
}

#[tokio::test]
async fn thresholds_travel_with_the_job() {
    let app = TestApp::start().await;
    let path = "/v1/tasks?confidence=0.5&iou=0.6&max_detections=7";
    assert_eq!(app.post(path, bus_form()).await.status(), StatusCode::ACCEPTED);
    let delivery = app.worker_side().await.queue().deliveries([ModelName::default()]).next(1).await;
    let settings = delivery.job.settings;
    assert_eq!((settings.confidence.get(), settings.iou.get()), (0.5, 0.6));
    assert_eq!(settings.max_detections.get(), 7);

    app.start_task().await;
    let delivery = app.worker_side().await.queue().deliveries([ModelName::default()]).next(1).await;
    assert_eq!(delivery.job.settings, DetectionSettings::default());
}

#[tokio::test]
async fn thresholds_out_of_range_are_rejected() {
    let app = TestApp::start().await;
    for query in ["confidence=1.5", "iou=-1", "max_detections=0", "confidence=high", "iou=NaN"] {
        let answer = app.post(&format!("/v1/tasks?{query}"), bus_form()).await;
        let (status, body) = json(answer).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        let name = query.split('=').next().unwrap();
        let error = body["detail"].as_str().unwrap();
        assert!(error.starts_with(name) && !error.contains("exclusive"), "{query}: {body}");
        assert_eq!(body["errors"][0]["parameter"], name, "{query}: {body}");
    }
}

#[tokio::test]
async fn errors_are_problem_details_on_v1_only() {
    let app = TestApp::start().await;
    let unknown = format!("/v1/tasks/{}", TaskId::generate());
    let cases = [
        ("GET", "/v1/tasks/no-id", 404, "task-unknown"),
        ("GET", unknown.as_str(), 404, "task-unknown"),
        ("GET", "/v1/nothing", 404, "no-route"),
        ("PUT", "/v1/tasks", 405, "method-not-allowed"),
        ("POST", "/v1/tasks?confidance=1", 400, "invalid-parameter"),
        ("POST", "/v1/tasks?iou=0.5&iou=0.6", 400, "invalid-parameter"),
        ("POST", "/v1/tasks?iou=x", 400, "invalid-parameter"),
        ("GET", "/v1/tasks/1?wait=a", 400, "invalid-parameter"),
        ("POST", "/v1/tasks", 415, "unsupported-media-type"),
    ];
    for (method, path, status, kind) in cases {
        let answer = app.client.request(method.parse().unwrap(), app.url(path)).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json", "{path}");
        let (answered, body) = json(answer).await;
        assert_eq!((answered.as_u16(), body["status"].as_u64()), (status, Some(status.into())));
        assert_eq!(body["type"], format!("urn:problem-type:spotter:{kind}"), "{path}: {body}");
        assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
        assert_eq!(body["errors"].is_array(), kind == "invalid-parameter", "{body}");
    }
    // The original application ignored what it did not know.
    let answer = app.post("/start_task?confidance=1", bus_form()).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let (status, body) = app.get("/nothing?x=1").await;
    assert_eq!((status, body["error"].is_string()), (StatusCode::NOT_FOUND, true), "{body}");
}

#[tokio::test]
async fn a_body_that_is_no_form_is_an_unsupported_media_type() {
    let app = TestApp::start().await;
    let answer = app.client.post(app.url("/v1/tasks")).body("x").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn unknown_and_expired_are_two_answers() {
    let app = TestApp::start_with(&[("RESULT_TTL_SECONDS", "3600")]).await;
    let (status, _) = app.get(&format!("/v1/tasks/{}", TaskId::generate())).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = app.get("/v1/tasks/no-id").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let long_ago = Uuid::new_v7(Timestamp::from_unix(NoContext, 1_700_000_000, 0));
    let (status, body) = app.get(&format!("/v1/tasks/{long_ago}")).await;
    assert_eq!(status, StatusCode::GONE, "{body}");
}

#[tokio::test]
async fn a_long_poll_ends_when_the_task_does() {
    let app = TestApp::start().await;
    let id = app.start_task().await;
    let path = format!("/v1/tasks/{id}?wait=30");
    let waiting = app.get(&path);
    let ending = app.succeed(id);
    let ((status, task), _) = tokio::join!(waiting, ending);
    assert_eq!((status, task["state"].as_str()), (StatusCode::OK, Some("SUCCESS")));
    assert_eq!(task["objects"][0]["label"], "bus");
    assert_eq!(task["objects"][0]["bbox"]["x1"], 22.875);
    assert_eq!((task["width"].as_u64(), task["height"].as_u64()), (Some(810), Some(1080)));
    assert!(task.get("warnings").is_none(), "nothing is wrong with the picture: {task}");
}

#[tokio::test]
async fn a_long_poll_that_times_out_answers_with_the_present_state() {
    let app = TestApp::start().await;
    let id = app.start_task().await;
    let (status, task) = app.get(&format!("/v1/tasks/{id}?wait=1")).await;
    assert_eq!((status, task["state"].as_str()), (StatusCode::OK, Some("QUEUED")));
}

#[tokio::test]
async fn a_task_that_has_not_changed_is_not_sent_again() {
    let app = TestApp::start().await;
    let id = app.start_task().await;
    let get = async |tag: &str| {
        let request = app.client.get(app.url(&format!("/v1/tasks/{id}")));
        let answer = request.header(header::IF_NONE_MATCH, tag).send().await.unwrap();
        let tag = answer.headers()[header::ETAG].to_str().unwrap().to_owned();
        (answer.status(), tag, answer.bytes().await.unwrap())
    };
    let (status, queued, _) = get("\"other\"").await;
    assert_eq!(status, StatusCode::OK);
    let (status, tag, body) = get(&queued).await;
    assert_eq!((status, &tag, body.len()), (StatusCode::NOT_MODIFIED, &queued, 0));
    app.succeed(id).await;
    let (status, finished, _) = get(&queued).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(finished, queued);
    assert_eq!(get(&format!("{queued}, W/{finished}")).await.0, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_failure_carries_its_reason() {
    let app = TestApp::start().await;
    let id = app.start_task().await;
    app.fail(id, "no picture").await;
    let (_, task) = app.get(&format!("/v1/tasks/{id}")).await;
    assert_eq!(task["failure"]["reason"], "undecodable_picture");
    assert_eq!(task["failure"]["message"], "no picture");
    assert!(task.get("objects").is_none(), "{task}");
}

#[tokio::test]
async fn uploads_beyond_the_limit_get_a_503_with_retry_after() {
    let app =
        TestApp::start_with(&[("MAX_CONCURRENT_UPLOADS", "1"), ("UPLOAD_TIMEOUT_SECONDS", "3")])
            .await;
    let head = "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\n";
    loop {
        // A body that never ends holds the only slot until its timeout.
        let slow = tokio::spawn(endless_form(&app, head, "").send());
        eventually(TEST_TIMEOUT, async || {
            let holds_it = app.metric("spotter_uploads_in_memory", "").await == Some(1);
            (holds_it || slow.is_finished()).then_some(())
        })
        .await;
        let refused = app.post("/v1/tasks", bus_form()).await;
        let was_held = !slow.is_finished();
        assert_eq!(slow.await.unwrap().unwrap().status(), StatusCode::REQUEST_TIMEOUT);
        // On a busy machine the slot may be free again, and the response proves nothing.
        if was_held {
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(refused.headers().contains_key(header::RETRY_AFTER));
            break;
        }
    }
    assert_eq!(app.post("/v1/tasks", bus_form()).await.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn an_endless_part_header_is_rejected() {
    let app = TestApp::start().await;
    let head = "--X\r\nContent-Disposition: form-data; name=\"file\"; x=\"";
    let answer = endless_form(&app, head, "abcdefghijklmnopqrstuvwxyz").send().await.unwrap();
    let (status, body) = json(answer).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
}

/// A form that starts with `head` and repeats `rest` endlessly; without a `rest` it stalls.
fn endless_form(app: &TestApp, head: &'static str, rest: &'static str) -> reqwest::RequestBuilder {
    let mut next = head;
    let chunks = futures_util::stream::poll_fn(move |_| match std::mem::replace(&mut next, rest) {
        "" => std::task::Poll::Pending,
        chunk => std::task::Poll::Ready(Some(Ok::<_, std::io::Error>(chunk))),
    });
    app.client
        .post(app.url("/v1/tasks"))
        .header("content-type", "multipart/form-data; boundary=X")
        .body(reqwest::Body::wrap_stream(chunks))
}

#[tokio::test]
async fn a_job_carries_its_deadline() {
    let app = TestApp::start().await;
    let (status, task) = json(app.post("/v1/tasks?deadline=60", bus_form()).await).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let delivery = app.worker_side().await.queue().deliveries([ModelName::default()]).next(1).await;
    let waits = delivery.job.deadline.unwrap() - delivery.job.submitted_at;
    assert_eq!(waits, Duration::from_secs(60));
    assert!(task["deadline"].is_string(), "{task}");
    for refused in ["0", "604801", "soon"] {
        let answer = app.post(&format!("/v1/tasks?deadline={refused}"), bus_form()).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{refused}");
    }
}

#[tokio::test]
async fn a_deadline_beyond_the_ttl_of_results_is_rejected() {
    for (ttl, longest) in [(None, 86_400), (Some("3600"), 3600), (Some("604800"), 604_800)] {
        let settings: Vec<_> = ttl.map(|ttl| ("RESULT_TTL_SECONDS", ttl)).into_iter().collect();
        let app = TestApp::start_with(&settings).await;
        let submit = async |deadline: u64| {
            let path = format!("/v1/tasks?deadline={deadline}");
            json(app.post(&path, bus_form()).await).await
        };
        let (status, task) = submit(longest).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{task}");
        let delivery =
            app.worker_side().await.queue().deliveries([ModelName::default()]).next(1).await;
        let waits = delivery.job.deadline.unwrap() - delivery.job.submitted_at;
        assert_eq!(waits, Duration::from_secs(longest));
        let (status, body) = submit(longest + 1).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        let error = body["detail"].as_str().unwrap();
        assert!(error.starts_with("deadline must be "), "{error}");
        for said in [longest, longest + 1] {
            let is_framework = longest == 604_800 && said > longest;
            assert!(error.contains(&said.to_string()) || is_framework, "{error}");
        }
        assert_eq!(app.jobs(), 1, "a rejected submission is not stored");
    }
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_long_polls() {
    let app = TestApp::start().await;
    let id = app.start_task().await;
    let waiting = app.client.get(app.url(&format!("/v1/tasks/{id}?wait=30"))).send();
    let waiting = tokio::spawn(waiting);
    let record = format!("records.{id}");
    eventually(TEST_TIMEOUT, async || app.nats.is_subscribed_to(&record).then_some(())).await;
    let started = std::time::Instant::now();
    app.stop();
    let (status, task) = json(waiting.await.unwrap().unwrap()).await;
    assert_eq!((status, task["state"].as_str()), (StatusCode::OK, Some("QUEUED")));
    assert!(started.elapsed() < Duration::from_secs(20), "the shutdown waited for the long poll");
}

#[tokio::test]
async fn a_cancelled_task_is_revoked_and_its_job_is_deleted() {
    let app = TestApp::start().await;
    let worker = app.worker_side().await;
    let mut cancellations = worker.queue().cancellations().await.unwrap();
    app.nats.wait_until_subscribed("cancels.*").await;
    let id = app.start_task().await;
    let path = format!("/v1/tasks/{id}");
    let cancel = async || json(app.client.delete(app.url(&path)).send().await.unwrap()).await;

    let long_poll = format!("{path}?wait=30");
    let waiting = app.get(&long_poll);
    let ((waited, _), (status, task)) = tokio::join!(waiting, cancel());
    assert_eq!((waited, status), (StatusCode::OK, StatusCode::OK), "{task}");
    assert_eq!(task["state"], "REVOKED");
    assert!(task["finished_at"].is_string(), "{task}");
    assert_eq!(app.jobs(), 0);
    assert_eq!(cancellations.next().await, Some(id), "workers are told");

    let (status, problem) = cancel().await;
    assert_eq!((status, &problem["task"]), (StatusCode::CONFLICT, &task));
    assert_eq!(problem["type"], "urn:problem-type:spotter:task-ended");
    assert_eq!(app.get(&path).await, (StatusCode::OK, task));
    // The original application knows three states only.
    let (_, original) = app.get(&format!("/task_result/{id}")).await;
    assert_eq!(original["status"], "FAILURE", "{original}");
}

#[tokio::test]
async fn what_cannot_be_cancelled_is_an_error() {
    let app = TestApp::start().await;
    let done = app.start_task().await;
    app.succeed(done).await;
    let cancel = async |id: &str| {
        let request = app.client.delete(app.url(&format!("/v1/tasks/{id}")));
        json(request.send().await.unwrap()).await
    };
    let (status, problem) = cancel(&done.to_string()).await;
    assert_eq!(
        (status, problem["task"]["state"].as_str()),
        (StatusCode::CONFLICT, Some("SUCCESS"))
    );
    for unknown in [TaskId::generate().to_string(), "no-id".to_owned()] {
        assert_eq!(cancel(&unknown).await.0, StatusCode::NOT_FOUND, "{unknown}");
    }
    let long_ago = Uuid::new_v7(Timestamp::from_unix(NoContext, 1_700_000_000, 0));
    assert_eq!(cancel(&long_ago.to_string()).await.0, StatusCode::GONE);
}
