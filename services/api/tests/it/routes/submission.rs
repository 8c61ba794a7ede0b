//! The ways to submit a picture to `/v1/tasks`: bodies, parameters and waiting for the result.

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::{ClassFilter, Job, ModelName, Priority};
use reqwest::{
    StatusCode,
    header::{self, HeaderMap},
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::app::{TestApp, bus_bytes, bus_form, json};

/// The job that a worker gets next.
async fn next_job(app: &TestApp) -> Job {
    app.worker_side().await.queue().deliveries([ModelName::default()]).next(1).await.job.clone()
}

async fn post(
    app: &TestApp,
    path: &str,
    headers: &[(&'static str, &str)],
    body: Vec<u8>,
) -> (StatusCode, HeaderMap, Value) {
    let mut request = app.client.post(app.url(path)).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let headers = answer.headers().clone();
    let (status, body) = json(answer).await;
    (status, headers, body)
}

#[tokio::test]
async fn the_picture_may_be_the_whole_body() {
    let app = TestApp::start().await;
    for media_type in
        ["image/jpeg", "image/png", "IMAGE/X-Unknown; q=1", "application/octet-stream"]
    {
        let (status, _, task) =
            post(&app, "/v1/tasks", &[("content-type", media_type)], bus_bytes()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{media_type}: {task}");
        assert_eq!(task["picture_name"], "", "{task}");
    }
    let headers = [
        ("content-type", "image/jpeg"),
        ("content-disposition", "attachment; filename=\"x\"; filename*=UTF-8''caf%C3%A9.jpg"),
    ];
    let (_, _, task) = post(&app, "/v1/tasks?confidence=0.5", &headers, bus_bytes()).await;
    assert_eq!(task["picture_name"], "café.jpg");
    let delivery = app.worker_side().await.queue().deliveries([ModelName::default()]).next(1).await;
    assert_eq!(delivery.picture_up_to(u64::MAX).await.unwrap(), bus_bytes());
}

#[tokio::test]
async fn the_picture_may_be_base64_in_json() {
    let app = TestApp::start().await;
    app.install("another").await;
    let image = BASE64_STANDARD.encode(bus_bytes());
    let body = json!({
        "image": image,
        "confidence": 0.5,
        "classes": ["person", 5],
        "class_agnostic": true,
        "model": "another",
        "priority": "high",
        "metadata": { "camera": "door", "shots": [1, 2] },
    });
    let (status, _, task) =
        post(&app, "/v1/tasks", &[("content-type", "application/json")], body.to_string().into())
            .await;
    assert_eq!(status, StatusCode::ACCEPTED, "{task}");
    assert_eq!((&task["metadata"], &task["priority"]), (&body["metadata"], &body["priority"]));
    let another: ModelName = "another".parse().unwrap();
    let delivery = app.worker_side().await.queue().deliveries([another]).next(1).await;
    assert_eq!(delivery.picture_up_to(u64::MAX).await.unwrap(), bus_bytes());
    let Job { settings, model, priority, metadata, .. } = &delivery.job;
    assert_eq!(*priority, Priority::High);
    assert_eq!((settings.confidence.get(), settings.class_agnostic), (0.5, true));
    assert_eq!(settings.classes, "person,5".parse::<ClassFilter>().unwrap());
    assert_eq!(model.as_str(), "another");
    assert_eq!(metadata.as_ref().unwrap().to_json(), body["metadata"].to_string());

    let id = task["task_id"].as_str().unwrap();
    let (_, found) = app.get(&format!("/v1/tasks/{id}")).await;
    assert_eq!(found["metadata"], body["metadata"]);
}

#[tokio::test]
async fn parameters_may_be_fields_of_the_form() {
    let app = TestApp::start().await;
    let picture = || Part::bytes(bus_bytes()).file_name("bus.jpg");
    let forms = [
        Form::new().text("iou", "0.5").text("classes", "0").part("file", picture()).text("x", "y"),
        Form::new().part("file", picture()).text("iou", "0.5").text("classes", "0"),
    ];
    for form in forms {
        let (status, task) = json(app.post("/v1/tasks?deadline=60", form).await).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{task}");
        let job = next_job(&app).await;
        assert_eq!(job.settings.iou.get(), 0.5);
        assert_eq!(job.settings.classes.to_string(), "0");
        assert!(job.deadline.is_some());
    }
    let repeated = "/v1/tasks?classes=person&classes=5,bus";
    assert_eq!(app.post(repeated, bus_form()).await.status(), StatusCode::ACCEPTED);
    assert_eq!(next_job(&app).await.settings.classes.to_string(), "person,5,bus");
    // The original application ignored them.
    let form = Form::new().text("iou", "0.5").part("file", picture());
    assert_eq!(app.post("/start_task", form).await.status(), StatusCode::ACCEPTED);
    assert_eq!(next_job(&app).await.settings, domain::DetectionSettings::default());
}

#[tokio::test]
async fn an_invalid_submission_is_rejected_in_words() {
    let app = TestApp::start().await;
    let image = BASE64_STANDARD.encode(bus_bytes());
    let json_type = [("content-type", "application/json")];
    let of_json = |body: Value| body.to_string().into_bytes();
    let cases = [
        (
            "",
            "application/json",
            of_json(json!({ "image": image, "iou": 7 })),
            400,
            "invalid-parameter",
            "iou must be",
        ),
        (
            "",
            "application/json",
            of_json(json!({ "image": image, "iuo": 1 })),
            400,
            "invalid-parameter",
            "'iuo'",
        ),
        (
            "iou=1",
            "application/json",
            of_json(json!({ "image": image, "iou": 1 })),
            400,
            "invalid-parameter",
            "more than once",
        ),
        (
            "",
            "application/json",
            of_json(json!({ "image": "AAAA" })),
            400,
            "invalid-picture",
            "no JPEG",
        ),
        ("", "application/json", of_json(json!({ "image": "%" })), 400, "invalid-body", "base64"),
        ("", "application/json", of_json(json!({ "uri": "x" })), 400, "invalid-parameter", "'uri'"),
        ("", "application/json", of_json(json!({})), 400, "no-picture", "'image'"),
        ("", "application/json", b"{".to_vec(), 400, "invalid-body", "JSON"),
        ("", "image/jpeg", Vec::new(), 400, "invalid-picture", "empty"),
        ("", "image/jpeg", bus_bytes()[..1000].to_vec(), 400, "invalid-picture", ""),
        (
            "",
            "application/x-www-form-urlencoded",
            bus_bytes(),
            415,
            "unsupported-media-type",
            "--data-binary",
        ),
        ("classes=", "image/jpeg", bus_bytes(), 400, "invalid-parameter", "empty"),
        ("priority=urgent", "image/jpeg", bus_bytes(), 400, "invalid-parameter", "priority"),
        ("metadata=[]", "image/jpeg", bus_bytes(), 400, "invalid-parameter", "JSON object"),
        ("model=a/b", "image/jpeg", bus_bytes(), 400, "invalid-parameter", "model"),
    ];
    for (query, media_type, body, status, kind, words) in cases {
        let path = format!("/v1/tasks?{query}");
        let (answered, _, problem) = post(&app, &path, &[("content-type", media_type)], body).await;
        let what = format!("{query} {media_type}: {problem}");
        assert_eq!(answered.as_u16(), status, "{what}");
        assert_eq!(problem["type"], format!("urn:problem-type:spotter:{kind}"), "{what}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{what}");
        assert_eq!(problem["errors"].is_array(), kind == "invalid-parameter", "{what}");
    }
    assert_eq!(app.jobs(), 0);
    // The original route takes forms only, and says so in the original application's words.
    let (status, _, body) =
        post(&app, "/start_task", &json_type, of_json(json!({ "image": image }))).await;
    assert_eq!(
        (status, &body),
        (StatusCode::BAD_REQUEST, &json!({ "error": "No image provided" }))
    );
}

#[tokio::test]
async fn a_client_that_prefers_to_wait_gets_the_finished_task() {
    let app = TestApp::start().await;
    let headers = [("content-type", "image/jpeg"), ("prefer", "wait=30")];
    let submitting = post(&app, "/v1/tasks", &headers, bus_bytes());
    let ending = async {
        let id = next_job(&app).await.task_id;
        app.succeed(id).await;
    };
    let ((status, headers, task), ()) = tokio::join!(submitting, ending);
    assert_eq!((status, task["state"].as_str()), (StatusCode::OK, Some("SUCCESS")), "{task}");
    assert_eq!(headers["preference-applied"], "wait=30");
    let location = headers[header::LOCATION].to_str().unwrap();
    assert_eq!(location, format!("/v1/tasks/{}", task["task_id"].as_str().unwrap()));
}

#[tokio::test]
async fn a_wait_that_is_too_short_ends_with_the_accepted_task() {
    let app = TestApp::start().await;
    let cases =
        [("wait=1", Some("wait=1")), ("respond-async", Some("respond-async")), ("x=y", None)];
    for (prefer, applied) in cases {
        let headers = [("content-type", "image/jpeg"), ("prefer", prefer)];
        let (status, headers, task) = post(&app, "/v1/tasks", &headers, bus_bytes()).await;
        assert_eq!((status, task["state"].as_str()), (StatusCode::ACCEPTED, Some("QUEUED")));
        let found = headers.get("preference-applied").map(|value| value.to_str().unwrap());
        assert_eq!(found, applied, "{prefer}");
    }
}

#[tokio::test]
async fn a_quoted_idempotency_key_is_the_key_without_quotes() {
    let app = TestApp::start().await;
    app.install("another").await;
    let submit = async |key: &str, query: &str| {
        let request = app.client.post(app.url(&format!("/v1/tasks{query}")));
        let request = request.header("idempotency-key", key).multipart(bus_form());
        json(request.send().await.unwrap()).await
    };
    let (_, first) = submit("\"k\"", "").await;
    let (_, again) = submit("k", "").await;
    assert_eq!(first["task_id"], again["task_id"]);
    for query in
        ["?classes=0", "?class_agnostic=true", "?model=another", "?priority=low", "?metadata={}"]
    {
        let (status, problem) = submit("k", query).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{query}: {problem}");
    }
}
