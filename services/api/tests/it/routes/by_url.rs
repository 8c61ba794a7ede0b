//! Pictures by URL, from a server on this machine that the API's settings allow.

use std::fs;

use domain::ModelName;
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::{HttpServer, http_answer};

use crate::app::{TestApp, bus_bytes, json};

/// A server of pictures, and of what is none.
fn pictures() -> HttpServer {
    HttpServer::start(|request| {
        let ok = |headers: &str, body: &[u8]| Some(http_answer("200 OK", headers, body));
        match request.path() {
            "/shots/caf%C3%A9.jpg?token=s3cret" => ok("content-type: text/plain\r\n", &bus_bytes()),
            "/named" => ok("content-disposition: inline; filename=\"door.jpg\"\r\n", &bus_bytes()),
            "/moved" => Some(http_answer("302 Found", "location: /named\r\n", b"")),
            "/inside" => Some(http_answer("302 Found", "location: http://10.0.0.1/\r\n", b"")),
            "/page" => ok("content-type: image/jpeg\r\n", b"<html>no picture</html>"),
            "/half" => ok("", &bus_bytes()[..1000]),
            "/large" => ok("", &vec![0; 300_000]),
            "/bomb" => {
                let bomb = testkit::workspace_root().join("services/spotter/tests/nasty/bomb.png");
                ok("", &fs::read(bomb).unwrap())
            }
            "/silent" => None,
            _ => Some(http_answer("404 Not Found", "", b"")),
        }
    })
}

async fn submit(app: &TestApp, body: Value) -> (StatusCode, Value) {
    let request = app.client.post(app.url("/v1/tasks")).json(&body);
    json(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_picture_is_fetched_and_queued() {
    let server = pictures();
    let app = TestApp::start_with(&[("FETCH_ALLOW", &server.origin())]).await;
    let cases = [
        ("/shots/caf%C3%A9.jpg?token=s3cret", "café.jpg"),
        ("/named", "door.jpg"),
        ("/moved", "door.jpg"),
    ];
    for (path, name) in cases {
        let url = format!("{}{path}", server.origin());
        let (status, task) = submit(&app, json!({ "url": url, "confidence": 0.5 })).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{path}: {task}");
        assert_eq!(task["picture_name"], name);
        assert!(!task.to_string().contains("s3cret"), "a URL may contain a token: {task}");
        let delivery =
            app.worker_side().await.queue().deliveries([ModelName::default()]).next(1).await;
        assert_eq!(delivery.picture_up_to(u64::MAX).await.unwrap(), bus_bytes());
        assert_eq!(delivery.job.settings.confidence.get(), 0.5);
        assert!(delivery.job.picture_sha256.is_some(), "its result is cached");
    }
    let fetched = app.metric("spotter_url_fetches_total", "outcome=\"fetched\"").await;
    assert_eq!(fetched, Some(3));
}

#[tokio::test]
async fn each_failure_has_a_type_of_its_own() {
    let server = pictures();
    let settings = [
        ("FETCH_ALLOW", server.origin()),
        ("FETCH_TIMEOUT_SECONDS", "1".to_owned()),
        ("MAX_PICTURE_BYTES", "200000".to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let app = TestApp::start_with(&settings).await;
    let here = |path: &str| json!({ "url": format!("{}{path}", server.origin()) });
    let nowhere = format!("http://127.0.0.1:{}/", testkit::free_port());
    let cases = [
        (here("/missing"), 422, "url-status", "status 404"),
        (here("/silent"), 422, "url-timed-out", "in time"),
        (here("/page"), 400, "invalid-picture", "no JPEG"),
        (here("/half"), 400, "invalid-picture", ""),
        (here("/bomb"), 400, "invalid-picture", "pixels"),
        (here("/large"), 413, "too-large", "200000"),
        (here("/inside"), 403, "url-refused", "not allowed"),
        (json!({ "url": nowhere }), 400, "invalid-parameter", "scheme"),
        (json!({ "url": "https://127.0.0.1/" }), 403, "url-refused", "no public address"),
        (json!({ "url": "https://localhost/" }), 403, "url-refused", "no public address"),
        (
            json!({ "url": "https://no-such-name.invalid/" }),
            403,
            "url-refused",
            "no public address",
        ),
        (json!({ "url": "ftp://example.com/a.jpg" }), 400, "invalid-parameter", "scheme"),
        (json!({ "url": "https://a:b@example.com/" }), 400, "invalid-parameter", "password"),
        (json!({ "url": "https://example.com:22/" }), 400, "invalid-parameter", "port 22"),
        (json!({ "url": "bus.jpg" }), 400, "invalid-parameter", "no absolute URL"),
        (json!({ "url": "" }), 400, "invalid-parameter", "no absolute URL"),
        (
            json!({ "url": "https://example.com/", "image": "" }),
            400,
            "invalid-parameter",
            "exclude",
        ),
        (json!({ "url": 7 }), 400, "invalid-body", "invalid type"),
    ];
    for (body, status, kind, words) in cases {
        let (answered, problem) = submit(&app, body.clone()).await;
        assert_eq!(answered.as_u16(), status, "{body}: {problem}");
        assert_eq!(problem["type"], format!("urn:problem-type:spotter:{kind}"), "{body}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{body}: {problem}");
        if kind == "invalid-parameter" {
            assert_eq!(problem["errors"][0]["parameter"], "url", "{body}: {problem}");
        }
    }
    assert_eq!(app.jobs(), 0);
    for (outcome, count) in [("status", 1), ("timed_out", 1), ("invalid", 4), ("refused", 3)] {
        let label = format!("outcome=\"{outcome}\"");
        let counted = app.metric("spotter_url_fetches_total", &label).await;
        assert_eq!(counted, Some(count), "{outcome}");
    }
}

/// Whatever else is wrong with a submission is found before anything is fetched.
#[tokio::test]
async fn nothing_is_fetched_for_an_invalid_submission() {
    let server = pictures();
    let app = TestApp::start_with(&[("FETCH_ALLOW", &server.origin())]).await;
    let url = format!("{}/named", server.origin());
    for body in [json!({ "url": url, "iou": 7 }), json!({ "url": url, "iuo": 1 })] {
        let (status, problem) = submit(&app, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    }
    assert_eq!(server.requests(), []);
}

#[tokio::test]
async fn fetching_is_turned_off_by_one_variable() {
    let server = pictures();
    let settings = [("FETCH_URLS", "off"), ("FETCH_ALLOW", &server.origin())];
    let app = TestApp::start_with(&settings).await;
    let (status, problem) =
        submit(&app, json!({ "url": format!("{}/named", server.origin()) })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    assert_eq!(problem["errors"][0]["parameter"], "url");
    assert_eq!(server.requests(), []);
}

#[tokio::test]
async fn a_host_that_does_not_answer_does_not_hold_up_others() {
    let server = pictures();
    let settings = [("FETCH_ALLOW", &*server.origin()), ("MAX_FETCHES_PER_HOST", "1")];
    let app = TestApp::start_with(&settings).await;
    let silent = submit(&app, json!({ "url": format!("{}/silent", server.origin()) }));
    let busy = async {
        let arrived = async || (server.requests().len() == 1).then_some(());
        testkit::eventually(crate::app::TEST_TIMEOUT, arrived).await;
        submit(&app, json!({ "url": format!("{}/named", server.origin()) })).await
    };
    let (status, problem) = tokio::select! {
        answered = silent => panic!("nothing was fetched: {answered:?}"),
        answered = busy => answered,
    };
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    assert_eq!(problem["type"], "urn:problem-type:spotter:too-many-fetches");
}
