//! `OPTIONS` of each path, compared with the methods that the path answers.

use domain::TaskId;
use reqwest::{
    Method, Response, StatusCode,
    header::{ALLOW, CONTENT_LENGTH},
};

use crate::{
    app::{TEST_TIMEOUT, TestApp},
    http::early_answers::ask_and_wait,
};

async fn ask(app: &TestApp, method: &Method, path: &str) -> Response {
    app.client.request(method.clone(), app.url(path)).send().await.unwrap()
}

fn allowed(answer: &Response) -> Vec<Method> {
    let allow = answer.headers()[ALLOW].to_str().unwrap();
    allow.split(", ").map(|method| method.parse().unwrap()).collect()
}

#[tokio::test]
async fn options_are_the_methods_that_a_path_answers() {
    let app = TestApp::start().await;
    let document = app.get("/openapi.json").await.1;
    let described = document["paths"].as_object().unwrap().keys().cloned();
    let id = TaskId::generate().to_string();
    let paths: Vec<String> = described
        .map(|path| path.replace("{task_id}", &id))
        .chain(["/docs", "/openapi.json"].map(str::to_owned))
        .collect();
    assert!(paths.len() > 8, "{paths:?}");
    let all = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].map(|name| name.parse().unwrap());
    for path in paths {
        let answer = ask(&app, &Method::OPTIONS, &path).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{path}");
        assert_eq!(answer.headers().get(CONTENT_LENGTH), None, "{path}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
        let allowed = allowed(&answer);
        assert!(allowed.contains(&Method::OPTIONS), "{path}: {allowed:?}");
        for method in &all {
            let status = ask(&app, method, &path).await.status();
            assert_eq!(
                status != StatusCode::METHOD_NOT_ALLOWED,
                allowed.contains(method),
                "{method} {path} is answered with {status}, and it allows {allowed:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_path_without_a_route_has_no_options() {
    let app = TestApp::start().await;
    for path in ["/nowhere", "/v1/tasks/", "/v1"] {
        let answer = ask(&app, &Method::OPTIONS, path).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_as_a_whole_has_options() {
    let app = TestApp::start().await;
    let address = app.address();
    let request = b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let asking = tokio::task::spawn_blocking(move || ask_and_wait(&address, request, |_| ()));
    let answer = tokio::time::timeout(TEST_TIMEOUT, asking).await.unwrap().unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(answer.contains("\r\nallow: DELETE, GET, HEAD, OPTIONS, POST\r\n"), "{answer}");
}
