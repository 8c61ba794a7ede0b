//! The routes of DeepStack and CodeProject.AI where nothing is run: keys, limits, the ways to report errors.

use messaging::ApiKeys;
use reqwest::{
    RequestBuilder, StatusCode,
    multipart::{Form, Part},
};
use serde_json::json;
use testkit::eventually;

use super::held::{INVALID_KEY, NO_KEY, key, run, sent};
use crate::app::{self, TEST_TIMEOUT, TestApp, bus_bytes};

const DETECTION: &str = "/v1/vision/detection";

fn image() -> Part {
    Part::bytes(bus_bytes()).file_name("image")
}

fn post(app: &TestApp, path: &str, form: Form) -> RequestBuilder {
    app.client.post(app.url(path)).multipart(form)
}

#[tokio::test]
async fn a_job_is_of_high_priority_and_expires_soon() {
    let app = TestApp::start().await;
    let (record, status, answer) =
        run(&app, post(&app, DETECTION, Form::new().part("image", image()))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let job = record.job;
    assert_eq!(answer["requestId"], job.task_id.to_string());
    assert_eq!(answer["predictions"][0]["y_max"], 756);
    assert_eq!(job.priority, domain::Priority::High);
    assert_eq!((job.settings.confidence.get(), job.settings.max_detections.get()), (0.4, 20));
    let wait = job.deadline.unwrap() - job.submitted_at;
    assert_eq!(wait, time::Duration::seconds(60));
}

#[tokio::test]
async fn a_picture_is_not_read_before_a_key_is_known() {
    let app = TestApp::start_with(&[("AUTH", "keys")]).await;
    let token = key(&app, None).await;
    let wrong = ApiKeys::new_token();
    let good = || token.expose().to_owned();
    // The picture never ends: only a server that does not read it answers.
    let endless = || {
        let body = reqwest::Body::wrap_stream(futures_util::stream::pending::<
            Result<Vec<u8>, std::io::Error>,
        >());
        Part::stream(body).file_name("image")
    };
    let with_wrong = Form::new().text("api_key", wrong.expose().to_owned());
    for (refused, challenge) in [
        (Form::new().part("image", endless()), NO_KEY),
        (Form::new().part("image", endless()).text("api_key", good()), NO_KEY),
        (Form::new().text("api_key", "").part("image", endless()), NO_KEY),
        (Form::new().text("api_key", "secret").part("image", endless()), INVALID_KEY),
        (with_wrong.part("image", endless()), INVALID_KEY),
    ] {
        let answer = post(&app, DETECTION, refused).send().await.unwrap();
        assert_eq!(answer.headers()["www-authenticate"], challenge);
        let (status, body) = app::json(answer).await;
        assert_eq!(
            (status, &body["error"]),
            (StatusCode::UNAUTHORIZED, &json!("Incorrect api key"))
        );
    }
    let header = post(&app, DETECTION, Form::new().part("image", endless())).bearer_auth("wrong");
    assert_eq!(sent(header).await.0, StatusCode::UNAUTHORIZED);
    let (status, body) = sent(app.client.post(app.url("/v1/vision/custom/list"))).await;
    assert_eq!((status, &body["error"]), (StatusCode::UNAUTHORIZED, &json!("Incorrect api key")));
    assert_eq!(app.jobs(), 0);

    let (status, list) =
        sent(post(&app, "/v1/vision/custom/list", Form::new().text("api_key", good()))).await;
    assert_eq!((status, list), (StatusCode::OK, json!({ "success": true, "models": ["yolov8n"] })));
    let form = Form::new().text("api_key", good()).part("image", image());
    let (record, status, answer) = run(&app, post(&app, DETECTION, form)).await;
    assert_eq!((status, record.job.owner), (StatusCode::OK, Some(token.id())), "{answer}");
    let (status, _) = app.get("/v1/status/ping").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn errors_are_reported_as_the_setting_says() {
    for (mode, expected) in [("deepstack", 400), ("codeproject", 200)] {
        let app = TestApp::start_with(&[("DEEPSTACK_API", mode)]).await;
        let (status, body) = sent(post(&app, DETECTION, Form::new().text("a", "b"))).await;
        assert_eq!(status.as_u16(), expected, "{mode}");
        assert_eq!((&body["success"], &body["code"]), (&json!(false), &json!(500)), "{mode}");
    }
    let app = TestApp::start_with(&[("DEEPSTACK_API", "off")]).await;
    for path in [DETECTION, "/v1/vision/custom/list"] {
        let (status, body) = sent(post(&app, path, Form::new().part("image", image()))).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(body["detail"].as_str().unwrap().contains("DEEPSTACK_API=off"), "{body}");
    }
    assert_eq!(app.get("/v1/status/ping").await.0, StatusCode::NOT_FOUND);
    assert_eq!(app.jobs(), 0);
}

#[tokio::test]
async fn a_form_takes_a_place_among_the_uploads_only_for_its_picture() {
    let app = TestApp::start_with(&[("AUTH", "keys"), ("MAX_CONCURRENT_UPLOADS", "1")]).await;
    let token = key(&app, None).await;
    let form = || Form::new().text("api_key", token.expose().to_owned());
    let endless = reqwest::Body::wrap_stream(futures_util::stream::pending::<
        Result<Vec<u8>, std::io::Error>,
    >());
    let endless = post(&app, DETECTION, form().part("image", Part::stream(endless)));
    let _upload = tokio::spawn(endless.send());
    eventually(TEST_TIMEOUT, async || {
        app.metric("spotter_uploads_in_memory", "").await.filter(|uploads| *uploads == 1)
    })
    .await;
    let (status, list) = sent(post(&app, "/v1/vision/custom/list", form())).await;
    assert_eq!(status, StatusCode::OK, "{list}");
    let (status, body) = sent(post(&app, DETECTION, form().part("image", image()))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    let refused = "reason=\"too_many_uploads\"";
    assert_eq!(app.metric("spotter_uploads_refused_total", refused).await, Some(1));
    let (status, body) = sent(post(&app, DETECTION, Form::new().part("image", image()))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
}
