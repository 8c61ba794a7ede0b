//! Which pages of other origins may read responses, as a browser decides it by their headers.

use reqwest::{
    Method, StatusCode,
    header::{HeaderMap, HeaderValue},
};

use crate::app::{TestApp, bus_form};

const PAGE: &str = "https://app.example.com";

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

async fn send(app: &TestApp, method: Method, path: &str, origin: &str) -> (StatusCode, HeaderMap) {
    let request = app.client.request(method.clone(), app.url(path)).header("origin", origin);
    let request = match method {
        Method::OPTIONS => request
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,idempotency-key,prefer"),
        Method::POST => request.multipart(bus_form()),
        _ => request,
    };
    let answer = request.send().await.unwrap();
    (answer.status(), answer.headers().clone())
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_submit_and_read_every_answer() {
    let origins = "http://localhost:8080, https://app.example.com";
    let app = TestApp::start_with(&[("CORS_ORIGINS", origins)]).await;
    let (status, headers) = send(&app, Method::OPTIONS, "/v1/tasks", PAGE).await;
    assert_eq!(
        (status, header(&headers, "access-control-allow-origin")),
        (StatusCode::NO_CONTENT, PAGE)
    );
    assert!(header(&headers, "access-control-allow-methods").contains("POST"), "{headers:?}");
    for name in ["content-type", "idempotency-key", "prefer", "last-event-id", "if-none-match"] {
        let allowed = header(&headers, "access-control-allow-headers");
        assert!(allowed.split(", ").any(|one| one == name), "{name} in {allowed}");
    }
    let requests = [
        (Method::POST, "/v1/tasks", StatusCode::ACCEPTED),
        (Method::POST, "/start_task", StatusCode::ACCEPTED),
        // Also errors, or a page could not tell its user.
        (Method::GET, "/v1/tasks/unknown", StatusCode::NOT_FOUND),
        (Method::GET, "/no/such/route", StatusCode::NOT_FOUND),
        (Method::POST, "/v1/tasks?iou=2", StatusCode::BAD_REQUEST),
    ];
    for (method, path, expected) in requests {
        let (status, headers) = send(&app, method, path, PAGE).await;
        assert_eq!(
            (status, header(&headers, "access-control-allow-origin")),
            (expected, PAGE),
            "{path}"
        );
        assert!(header(&headers, "access-control-expose-headers").contains("location"), "{path}");
        let vary: Vec<_> = headers.get_all("vary").iter().map(HeaderValue::as_bytes).collect();
        assert!(vary.contains(&b"origin".as_slice()), "{path}: {vary:?}");
        assert!(!headers.contains_key("access-control-allow-credentials"), "{path}");
    }
}

#[tokio::test]
async fn other_origins_get_no_permission_and_the_same_answer() {
    let by_default = TestApp::start().await;
    let limited = TestApp::start_with(&[("CORS_ORIGINS", PAGE)]).await;
    let others = ["https://app.example.com.evil.example", "http://app.example.com", "null"];
    for (app, origins) in [(&by_default, vec![PAGE]), (&limited, others.to_vec())] {
        for origin in origins {
            for method in [Method::OPTIONS, Method::GET, Method::POST] {
                let (status, headers) = send(app, method.clone(), "/v1/tasks", origin).await;
                assert!(status.is_success(), "{method} {origin}: {status}");
                let given: Vec<_> = headers
                    .keys()
                    .filter(|name| name.as_str().starts_with("access-control"))
                    .collect();
                assert!(given.is_empty(), "{method} {origin}: {given:?}");
            }
        }
    }
}

#[tokio::test]
async fn all_origins_may_be_allowed() {
    let app = TestApp::start_with(&[("CORS_ORIGINS", "*")]).await;
    let (_, headers) = send(&app, Method::POST, "/v1/tasks", "null").await;
    assert_eq!(header(&headers, "access-control-allow-origin"), "*");
}
