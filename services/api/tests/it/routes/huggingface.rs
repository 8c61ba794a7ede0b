//! The routes of Hugging Face where nothing is run: keys, limits, errors.

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::Priority;
use messaging::ApiKeys;
use reqwest::{
    RequestBuilder, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use serde_json::{Value, json};
use testkit::eventually;

use super::held::{endless, key, run, sent, waiting};
use crate::app::{TEST_TIMEOUT, TestApp, bus_bytes};

fn post(app: &TestApp, path: &str) -> RequestBuilder {
    app.client.post(app.url(path))
}

fn inputs() -> String {
    STANDARD.encode(bus_bytes())
}

#[tokio::test]
async fn a_picture_is_the_body_or_in_json() {
    let app = TestApp::start().await;
    app.install("helmets").await;
    let url = json!({ "inputs": inputs(), "parameters": { "threshold": 0.25, "top_k": 3 } });
    let cases = [
        (post(&app, "/").body(bus_bytes()), "yolov8n", 0.5),
        (
            post(&app, "/models/helmets").header(CONTENT_TYPE, "image/jpeg").body(bus_bytes()),
            "helmets",
            0.5,
        ),
        (post(&app, "/models/yolov8n").json(&url), "yolov8n", 0.25),
        (post(&app, "/").json(&json!({ "inputs": inputs(), "parameters": null })), "yolov8n", 0.5),
    ];
    for (request, model, threshold) in cases {
        let request = request.header("cache-control", "no-cache");
        let (record, status, answer) = run(&app, request).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let bounding_box = json!({ "xmin": 22, "ymin": 231, "xmax": 805, "ymax": 756 });
        assert_eq!(answer, json!([{ "score": 0.87345, "label": "bus", "box": bounding_box }]));
        let job = record.job;
        assert_eq!((job.model.as_str(), job.settings.confidence.get()), (model, threshold));
        assert_eq!((job.settings.max_detections.get(), job.priority), (300, Priority::High));
        let wait = job.deadline.unwrap() - job.submitted_at;
        assert_eq!(wait, time::Duration::seconds(60));
    }
}

#[tokio::test]
async fn an_error_is_a_text_in_error() {
    let settings = [("MAX_PICTURE_BYTES", "500000"), ("RESPONSE_CACHE_SECONDS", "0")];
    let app = TestApp::start_with(&settings).await;
    let with = |body: Value| post(&app, "/").json(&body);
    let json_text =
        |text: &'static str| post(&app, "/").header(CONTENT_TYPE, "application/json").body(text);
    let at = |url: &str| with(json!({ "inputs": url }));
    let cases = [
        (post(&app, "/"), 400, "the picture is empty"),
        (post(&app, "/").body("no picture"), 400, "these bytes are no JPEG"),
        (post(&app, "/").body(bus_bytes()[..9000].to_vec()), 400, "ends"),
        (post(&app, "/").body(vec![b'x'; 600_000]), 400, "these bytes are no JPEG"),
        (post(&app, "/").body(vec![0; 2_000_000]), 413, "more than"),
        (json_text(""), 400, "the JSON body cannot be read: EOF"),
        (json_text("[]"), 400, "the JSON body cannot be read"),
        (json_text("{\"inputs\": \"AP8=\"} x"), 400, "trailing characters"),
        (with(json!({})), 400, "missing field `inputs`"),
        (with(json!({ "inputs": 7 })), 400, "invalid type"),
        (with(json!({ "inputs": "%" })), 400, "the picture is not base64"),
        (with(json!({ "inputs": "AP8=" })), 400, "these bytes are no JPEG"),
        (
            with(json!({ "inputs": inputs(), "parameters": { "threshold": 1.5 } })),
            400,
            "threshold must be a number from 0 to 1, got 1.5",
        ),
        (
            with(json!({ "inputs": inputs(), "parameters": { "threshold": "a" } })),
            400,
            "invalid type",
        ),
        (at("http://127.0.0.1/a.jpg"), 400, "url cannot be used"),
        (at("https://127.0.0.1/a.jpg"), 403, "url cannot be used"),
        (post(&app, "/").header(CONTENT_ENCODING, "gzip").body("x"), 415, "Content-Encoding"),
        (
            post(&app, "/models/nowhere").body(bus_bytes()),
            404,
            "there is no model 'nowhere', there are: yolov8n",
        ),
        (post(&app, "/models/..x").body(bus_bytes()), 404, "there is no model '..x'"),
    ];
    for (request, expected, text) in cases {
        let (status, body) = sent(request).await;
        assert_eq!(status.as_u16(), expected, "{body}");
        assert!(body["error"].as_str().unwrap().contains(text), "{text}: {body}");
    }
    assert_eq!(app.jobs(), 0);
    let refused = app.metric("spotter_uploads_refused_total", "reason=\"url_refused\"").await;
    assert_eq!(refused, Some(1));

    let answer = tokio::spawn(sent(post(&app, "/").body(bus_bytes())));
    app.fail(waiting(&app, 1).await[0], "its pixels are damaged").await;
    let (status, body) = answer.await.unwrap();
    assert_eq!(
        (status, &body["error"]),
        (StatusCode::BAD_REQUEST, &json!("its pixels are damaged"))
    );
}

#[tokio::test]
async fn a_picture_is_not_read_without_a_key() {
    let app = TestApp::start_with(&[("AUTH", "keys")]).await;
    let token = key(&app, None).await;
    let wrong = ApiKeys::new_token();
    for path in ["/", "/models/yolov8n"] {
        let none = post(&app, path).body(endless("x"));
        let wrong = post(&app, path).bearer_auth(wrong.expose()).body(endless("x"));
        for request in [none, wrong, post(&app, path).bearer_auth("hf_abc").body(endless("x"))] {
            let (status, body) = sent(request).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}: {body}");
            assert!(body["error"].as_str().unwrap().contains("key"), "{body}");
        }
    }
    assert_eq!(app.get("/").await.0, StatusCode::OK);
    let request = post(&app, "/").bearer_auth(token.expose()).body(bus_bytes());
    let (record, status, answer) = run(&app, request).await;
    assert_eq!((status, record.job.owner), (StatusCode::OK, Some(token.id())), "{answer}");
}

#[tokio::test]
async fn a_picture_takes_a_place_among_the_uploads() {
    let app = TestApp::start_with(&[("MAX_CONCURRENT_UPLOADS", "1")]).await;
    let first = post(&app, "/").body(endless("GIF89a"));
    let _upload = tokio::spawn(first.send());
    eventually(TEST_TIMEOUT, async || {
        app.metric("spotter_uploads_in_memory", "").await.filter(|uploads| *uploads == 1)
    })
    .await;
    for request in
        [post(&app, "/").body(bus_bytes()), post(&app, "/").json(&json!({ "inputs": inputs() }))]
    {
        let answer = request.send().await.unwrap();
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test]
async fn the_routes_can_be_turned_off() {
    let app = TestApp::start_with(&[("HUGGINGFACE_API", "off")]).await;
    for path in ["/", "/models/yolov8n"] {
        let (status, body) = sent(post(&app, path).body(bus_bytes())).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(body["error"].as_str().unwrap().contains("HUGGINGFACE_API=off"), "{body}");
    }
    assert_eq!(app.get("/").await.0, StatusCode::OK);
    assert_eq!(app.jobs(), 0);
}
