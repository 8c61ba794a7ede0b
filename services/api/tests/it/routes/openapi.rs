//! The document, the committed copy of it, and the page that shows it.

use std::fs;

use reqwest::StatusCode;
use serde_json::Value;

use crate::app::TestApp;

#[test]
fn the_committed_document_is_the_generated_one() {
    let committed = fs::read_to_string(testkit::workspace_root().join("openapi.json")).unwrap();
    let generated = api::openapi_document().unwrap();
    assert!(committed == generated, "openapi.json is out of date: run `make openapi`");
}

#[test]
fn every_operation_has_a_summary_and_its_errors() {
    let document: Value = serde_json::from_str(&api::openapi_document().unwrap()).unwrap();
    let statuses = |path: &str, method: &str| -> Vec<String> {
        let operation = &document["paths"][path][method];
        assert!(operation["summary"].is_string(), "{method} {path}");
        operation["responses"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(
        statuses("/start_task", "post"),
        ["202", "400", "401", "403", "408", "413", "415", "422", "429", "503"]
    );
    assert_eq!(
        statuses("/task_result/{task_id}", "get"),
        ["200", "400", "401", "403", "429", "503"]
    );
    let submission = ["200", "202", "400", "401", "403", "408", "413", "415", "422", "429", "503"];
    assert_eq!(statuses("/v1/tasks", "post"), submission);
    let reading = ["200", "304", "400", "401", "403", "404", "406", "409", "410", "429", "503"];
    assert_eq!(statuses("/v1/tasks/{task_id}", "get"), reading);
    let forms = &document["paths"]["/v1/tasks/{task_id}"]["get"]["responses"]["200"]["content"];
    for (media_type, form) in forms.as_object().unwrap() {
        let is_described =
            form["schema"]["$ref"].is_string() || !form["schema"]["example"].is_null();
        assert!(is_described, "{media_type}: {form}");
    }
    assert_eq!(forms.as_object().unwrap().len(), 5);
    let parameters = document["paths"]["/v1/tasks"]["post"]["parameters"].as_array().unwrap();
    assert!(parameters.iter().all(|parameter| parameter["required"] == false), "{parameters:#?}");
    assert_eq!(statuses("/v1/tasks", "get"), ["200", "400", "401", "403", "429", "503"]);
    let following = ["200", "204", "400", "401", "403", "404", "410", "429", "503"];
    assert_eq!(statuses("/v1/tasks/{task_id}/events", "get"), following);
    let drawing = ["200", "304", "400", "401", "403", "404", "406", "409", "410", "429", "503"];
    assert_eq!(statuses("/v1/tasks/{task_id}/image", "get"), drawing);
    let cancelling = ["200", "400", "401", "403", "404", "409", "410", "429", "503"];
    assert_eq!(statuses("/v1/tasks/{task_id}", "delete"), cancelling);
    let batch =
        ["200", "202", "400", "401", "403", "408", "409", "413", "415", "422", "429", "503"];
    assert_eq!(statuses("/v1/batches", "post"), batch);
    assert_eq!(statuses("/v1/batches/{batch_id}", "delete"), cancelling);
    for path in ["/v1/batches/{batch_id}", "/v1/batches/{batch_id}/results"] {
        assert_eq!(statuses(path, "get"), ["200", "400", "401", "403", "404", "410", "429", "503"]);
    }
    assert_eq!(statuses("/v1/batches/{batch_id}/events", "get"), following);
    let inference =
        ["200", "400", "401", "403", "404", "408", "413", "415", "429", "500", "503", "504"];
    assert_eq!(statuses("/v2/models/{model}/infer", "post"), inference);
    let looking = ["200", "400", "401", "403", "429", "503"];
    let lists = ["/v1/dead-letters", "/v1/webhooks/dead-letters"];
    for path in ["/v1/operations", "/v1/operations/events"].into_iter().chain(lists) {
        assert_eq!(statuses(path, "get"), looking, "{path}");
    }
    let requeue = statuses("/v1/dead-letters/{id}/requeue", "post");
    assert_eq!(requeue, ["202", "400", "401", "403", "404", "409", "429", "503"]);
    assert_eq!(statuses("/", "get"), ["200"]);
    let held = ["200", "400", "401", "403", "404", "408", "413", "415", "422", "429", "500", "503"];
    for path in ["/", "/models/{model}", "/infer/object_detection"] {
        assert_eq!(statuses(path, "post"), held, "{path}");
    }
    let dropping = ["204", "400", "401", "403", "404", "429", "503"];
    assert_eq!(statuses("/v1/dead-letters/{id}", "delete"), dropping);
}

#[test]
fn every_route_says_whether_it_may_need_a_key() {
    let document: Value = serde_json::from_str(&api::openapi_document().unwrap()).unwrap();
    let schemes = &document["components"]["securitySchemes"];
    assert_eq!(schemes["bearer"]["scheme"], "bearer");
    assert_eq!(schemes["header"]["name"], "X-API-Key");
    let open = ["/", "/health/live", "/health/ready", "/health/startup", "/metrics", "/info"];
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let of_others = ["/v1/status/", "/v1/server/status/", "/v2/health/"];
            let is_open = (open.contains(&path.as_str()) && method == "get")
                || of_others.iter().any(|start| path.starts_with(start));
            assert_eq!(operation["security"].is_null(), is_open, "{method} {path}");
            assert_eq!(operation["responses"]["401"].is_null(), is_open, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_document_and_its_page_are_served_from_the_binary() {
    let app = TestApp::start().await;
    let served = app.client.get(app.url("/openapi.json")).send().await.unwrap();
    assert_eq!(served.status(), StatusCode::OK);
    assert_eq!(served.headers()["content-type"], "application/json");
    assert!(served.text().await.unwrap() == api::openapi_document().unwrap(), "another is served");
    let page = app.client.get(app.url("/docs")).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    let page = page.text().await.unwrap();
    for foreign in ["<script src=\"http", "<link href=\"http", "<script src=\"//"] {
        assert!(!page.contains(foreign), "the page loads {foreign}");
    }
}
