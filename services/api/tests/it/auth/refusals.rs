//! Requests without a key that may be used for them.

use domain::Scope;
use reqwest::{Method, StatusCode};
use time::{Duration, OffsetDateTime};

use super::{Grant, get, get_json, header, key, kind, post, request, start, store};
use crate::app::{TestApp, bus_form, json};

#[tokio::test]
async fn a_request_without_a_key_is_refused_in_the_words_of_its_route() {
    let app = start().await;
    let closed = [
        (Method::POST, "/start_task", false),
        (Method::GET, "/task_result/0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47", false),
        (Method::GET, "/nowhere", false),
        (Method::POST, "/", false),
        (Method::POST, "/models/yolov8n", false),
        (Method::POST, "/models/workflows", false),
        (Method::GET, "/v2", false),
        (Method::POST, "/v2/repository/index", false),
        (Method::POST, "/v2/models/yolov8n/infer", false),
        (Method::POST, "/v1/tasks", true),
        (Method::GET, "/v1/tasks", true),
        (Method::GET, "/v1/tasks?limit=0&unknown=1", true),
        (Method::GET, "/v1/tasks/0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47", true),
        (Method::GET, "/v1/tasks/x/events", true),
        (Method::GET, "/v1/tasks/x/image", true),
        (Method::DELETE, "/v1/tasks/x", true),
        (Method::POST, "/v1/batches", true),
        (Method::GET, "/v1/batches", true),
        (Method::GET, "/v1/batches/x", true),
        (Method::GET, "/v1/batches/x/results", true),
        (Method::GET, "/v1/batches/x/events", true),
        (Method::DELETE, "/v1/batches/x", true),
        (Method::GET, "/v1/operations", true),
        (Method::GET, "/v1/operations/events", true),
        (Method::GET, "/v1/dead-letters", true),
        (Method::POST, "/v1/dead-letters/x/requeue", true),
        (Method::GET, "/v1/webhooks/dead-letters", true),
        (Method::GET, "/v1/nowhere", true),
    ];
    let refused = u64::try_from(closed.len()).unwrap();
    for (method, path, is_v1) in closed {
        let mut request = app.client.request(method.clone(), app.url(path));
        if method == Method::POST {
            request = request.multipart(bus_form());
        }
        let answer = request.send().await.unwrap();
        assert_eq!(header(&answer, "www-authenticate"), "Bearer", "{method} {path}");
        let expected = if is_v1 { "application/problem+json" } else { "application/json" };
        assert!(header(&answer, "content-type").starts_with(expected), "{method} {path}");
        let (status, body) = json(answer).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
        match is_v1 {
            true => assert_eq!(kind(&body), "api-key-missing", "{body}"),
            false => assert!(body["error"].as_str().unwrap().contains("X-API-Key"), "{body}"),
        }
    }
    let counted = app.metric("spotter_requests_refused_total", "reason=\"no_key\"").await;
    assert_eq!(counted, Some(refused));
    assert_eq!(app.jobs(), 0);
}

#[tokio::test]
async fn descriptions_health_metrics_and_preflights_need_no_key() {
    let app = TestApp::start_with(&[("AUTH", "keys"), ("CORS_ORIGINS", "https://a.example")]).await;
    let open = [
        "/",
        "/docs/",
        "/samples",
        "/openapi.json",
        "/metrics",
        "/health/live",
        "/health/ready",
        "/health/startup",
    ];
    for path in open {
        let status = app.client.get(app.url(path)).send().await.unwrap().status();
        assert_eq!(status, StatusCode::OK, "{path}");
    }
    let preflight = app
        .client
        .request(Method::OPTIONS, app.url("/v1/tasks"))
        .header("origin", "https://a.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,x-api-key");
    let answer = preflight.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    let allowed = header(&answer, "access-control-allow-headers");
    assert!(allowed.contains("authorization") && allowed.contains("x-api-key"), "{allowed}");
    // A page must be able to tell its user.
    let request = app.client.get(app.url("/v1/tasks")).header("origin", "https://a.example");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(header(&answer, "access-control-allow-origin"), "https://a.example");
}

#[tokio::test]
async fn a_key_is_taken_from_either_header_and_only_whole() {
    let app = start().await;
    let token = key(&app, Grant::default()).await;
    let text = token.expose();
    let send = async |name: &str, value: &str| {
        let request = app.client.get(app.url("/v1/tasks")).header(name, value);
        request.send().await.unwrap()
    };
    for (name, value) in
        [("authorization", format!("bearer {text}")), ("x-api-key", text.to_owned())]
    {
        assert_eq!(send(name, &value).await.status(), StatusCode::OK, "{name}");
    }
    let other = super::ApiKeys::new_token();
    let forged = format!("{}{}", &text[..21], &other.expose()[21..]);
    let wrong = [
        ("x-api-key", forged),
        ("x-api-key", other.expose().to_owned()),
        ("x-api-key", text.to_uppercase()),
        ("x-api-key", text[..84].to_owned()),
        ("x-api-key", "x".repeat(8000)),
        ("x-api-key", "clé".to_owned()),
        ("authorization", format!("Bearer {text}, Bearer {text}")),
        ("authorization", "Bearer".to_owned()),
    ];
    for (name, value) in wrong {
        let answer = send(name, &value).await;
        assert_eq!(
            header(&answer, "www-authenticate"),
            "Bearer error=\"invalid_token\"",
            "{value}"
        );
        let (status, problem) = json(answer).await;
        assert_eq!(
            (status, kind(&problem)),
            (StatusCode::UNAUTHORIZED, "api-key-invalid"),
            "{value}"
        );
        assert!(!problem.to_string().contains(&value), "{problem}");
    }
    let both = request(&app, Method::GET, "/v1/tasks", &token).header("x-api-key", text);
    assert_eq!(both.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_key_is_good_for_its_scopes_only() {
    let app = start().await;
    let submitter = key(&app, Grant { scopes: vec![Scope::Submit], ..Grant::default() }).await;
    let reader = key(&app, Grant { scopes: vec![Scope::Read], ..Grant::default() }).await;
    let id = super::submit(&app, &submitter).await;
    let path = format!("/v1/tasks/{id}");
    let cases = [
        (Method::GET, path.clone(), &submitter, "read"),
        (Method::GET, "/v1/tasks".to_owned(), &submitter, "read"),
        (Method::GET, format!("/task_result/{id}"), &submitter, "read"),
        (Method::DELETE, path.clone(), &reader, "submit"),
        (Method::POST, "/v1/tasks".to_owned(), &reader, "submit"),
        (Method::POST, "/start_task".to_owned(), &reader, "submit"),
    ];
    for (method, path, token, missing) in cases {
        let answer = request(&app, method.clone(), &path, token).send().await.unwrap();
        let expected = format!("Bearer error=\"insufficient_scope\", scope=\"{missing}\"");
        assert_eq!(header(&answer, "www-authenticate"), expected, "{method} {path}");
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {path}");
    }
    let (_, problem) = get_json(&app, &path, &submitter).await;
    assert_eq!(kind(&problem), "scope-missing", "{problem}");
    let cancelled = request(&app, Method::DELETE, &path, &submitter).send().await.unwrap();
    assert_eq!(cancelled.status(), StatusCode::OK, "a submitter cancels its own tasks");
}

#[tokio::test]
async fn what_belongs_to_all_keys_is_for_admin_only() {
    let app = start().await;
    let user = key(&app, Grant::default()).await;
    let admin = key(&app, Grant { scopes: vec![Scope::Admin], ..Grant::default() }).await;
    let routes = [
        (Method::GET, "/v1/operations"),
        (Method::GET, "/v1/operations/events"),
        (Method::GET, "/v1/dead-letters"),
        (Method::GET, "/v1/dead-letters/7/picture"),
        (Method::POST, "/v1/dead-letters/7/requeue"),
        (Method::DELETE, "/v1/dead-letters/7"),
        (Method::GET, "/v1/webhooks/dead-letters"),
        (Method::POST, "/v1/webhooks/dead-letters/7/replay"),
    ];
    for (method, path) in routes {
        let refused = request(&app, method.clone(), path, &user).send().await.unwrap();
        let expected = "Bearer error=\"insufficient_scope\", scope=\"admin\"";
        assert_eq!(header(&refused, "www-authenticate"), expected, "{method} {path}");
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{method} {path}");
        let served = request(&app, method.clone(), path, &admin).send().await.unwrap();
        let expected = if path.contains('7') { StatusCode::NOT_FOUND } else { StatusCode::OK };
        assert_eq!(served.status(), expected, "{method} {path}");
    }
    // Other ways to write a path lead to no route.
    for path in [
        "//v1/operations",
        "/v1//operations",
        "/v1/%6fperations",
        "/v1/tasks/../operations",
        "/v1/operations/",
    ] {
        let status = get(&app, path, &user).await.status();
        assert!(status.is_client_error(), "{path}: {status}");
    }
    let refused = app.metric("spotter_requests_refused_total", "reason=\"scope\"").await;
    assert!(refused >= Some(8), "{refused:?}");
    let (_, snapshot) = get_json(&app, "/v1/operations", &admin).await;
    let refusals = snapshot["refusals"].as_array().unwrap();
    assert!(refusals.iter().any(|one| one["reason"] == "scope"), "{refusals:?}");
}

#[tokio::test]
async fn a_key_that_has_expired_is_refused() {
    let app = start().await;
    let expires_at = Some(OffsetDateTime::now_utc() - Duration::SECOND);
    let token = store(&app, Grant { expires_at, ..Grant::default() }).await;
    let known = format!("key=\"{}\"", token.id());
    testkit::eventually(crate::app::TEST_TIMEOUT, async || {
        app.metric("spotter_api_key_requests_total", &known).await
    })
    .await;
    let (status, problem) = get_json(&app, "/v1/tasks", &token).await;
    assert_eq!((status, kind(&problem)), (StatusCode::UNAUTHORIZED, "api-key-invalid"));
    assert!(problem["detail"].as_str().unwrap().contains("expired"), "{problem}");
    let later = Some(OffsetDateTime::now_utc() + Duration::HOUR);
    let token = key(&app, Grant { expires_at: later, ..Grant::default() }).await;
    assert_eq!(get(&app, "/v1/tasks", &token).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_key_changes_nothing_where_none_is_needed() {
    let app = TestApp::start().await;
    let token = super::ApiKeys::new_token();
    let answer = post(&app, "/v1/tasks", &token).await;
    assert!(!answer.headers().contains_key("ratelimit"));
    let (status, task) = json(answer).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{task}");
    let (status, _) = app.get(&format!("/v1/tasks/{}", task["task_id"].as_str().unwrap())).await;
    assert_eq!(status, StatusCode::OK);
}
