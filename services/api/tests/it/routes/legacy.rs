//! The original routes, in the original's words.

use domain::TaskId;
use reqwest::{StatusCode, multipart::Form};
use serde_json::{Value, json};

use crate::app::{TestApp, bus_bytes, bus_form, form, json};

#[tokio::test]
async fn home_describes_itself_in_the_original_structure() {
    let app = TestApp::start().await;
    let (status, body) = app.get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["api_version"], "1.0");
    let routes = body["routes"].as_array().unwrap();
    let paths: Vec<_> = routes.iter().map(|route| route["path"].as_str().unwrap()).collect();
    assert_eq!(paths[..2], ["/start_task", "/task_result/<task_id>"]);
    let curl = routes[0]["request_body"]["request_example"].as_str().unwrap();
    assert!(curl.contains(&app.url("/start_task")), "{curl}");
}

#[tokio::test]
async fn home_lists_the_statuses_that_the_document_describes() {
    let app = TestApp::start().await;
    let (_, home) = app.get("/").await;
    let (_, document) = app.get("/openapi.json").await;
    let listed = home["routes"].as_array().unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let shown = path.replace('{', "<").replace('}', ">");
        for (method, operation) in methods.as_object().unwrap() {
            if path == "/" {
                continue;
            }
            let is_it = |route: &&Value| {
                route["path"] == *shown && route["method"] == method.to_uppercase()
            };
            let route = listed.iter().find(is_it).unwrap_or_else(|| panic!("{method} {path}"));
            let statuses =
                |of: &Value| of.as_object().map(|of| of.keys().cloned().collect::<Vec<_>>());
            assert_eq!(statuses(&route["responses"]), statuses(&operation["responses"]), "{route}");
        }
    }
}

/// The original application's response to `GET /`, as far as clients may depend on it, and one generated text.
#[tokio::test]
async fn home_has_the_original_fields_and_words() {
    let app = TestApp::start().await;
    let (_, home) = app.get("/").await;
    let original = json!({
        "api_version": "1.0",
        "description": "Welcome to the Object Detection API. This API allows you to upload images for \
                        processing and check the status and result of your tasks.",
        "routes": [
            {
                "path": "/start_task",
                "method": "POST",
                "description": "Uploads an image for processing.",
                "request_body": { "file": {
                    "filename": "example.jpg",
                    "content": "<binary content of the image>",
                    "required": "true"
                }},
                "responses": {
                    "202": {
                        "description": "Accepted. The task is being processed.",
                        "example": {
                            "image": "example.jpg",
                            "status": "Accepted. Goto /task_result/<task_id> route to check status"
                        }
                    },
                    "400": { "description": "Bad Request. Indicates a missing file or invalid input." },
                    // Generated from the document.
                    "408": { "description": "Request Timeout. The upload took too long to arrive." }
                }
            },
            {
                "path": "/task_result/<task_id>",
                "method": "GET",
                "description":
                    "Retrieves the status or result of a previously submitted image processing task.",
                "path_parameters": {
                    "task_id": { "type": "string", "description": "The unique identifier for the task." }
                },
                "responses": {
                    "200": {
                        "description": "Success. Returns the result of the task.",
                        "example_success": { "image_name": "bus.jpg", "status": "SUCCESS" },
                        "example_status": { "status": "PENDING" }
                    },
                    "400": { "description": "Not Found. The task ID does not exist." }
                }
            }
        ]
    });
    assert_contains(&home, &original, "");
}

/// Asserts that `found` has every field and every item of `expected`.
fn assert_contains(found: &Value, expected: &Value, at: &str) {
    match expected {
        Value::Object(fields) => {
            for (name, expected) in fields {
                assert_contains(&found[name], expected, &format!("{at}/{name}"));
            }
        }
        Value::Array(items) => {
            for (index, expected) in items.iter().enumerate() {
                assert_contains(&found[index], expected, &format!("{at}/{index}"));
            }
        }
        expected => assert_eq!(found, expected, "{at}"),
    }
}

#[tokio::test]
async fn a_picture_is_accepted_then_pending_then_done() {
    let app = TestApp::start().await;
    let (status, accepted) = json(app.post("/start_task", bus_form()).await).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let id = accepted["task_id"].as_str().unwrap().to_owned();
    assert_eq!(
        accepted,
        json!({
            "task_id": id,
            "image": "bus.jpg",
            "status": "Accepted. Goto /task_result/<task_id> route to check status",
        })
    );

    let path = format!("/task_result/{id}");
    let pending = json!({ "task_id": id, "status": "PENDING" });
    assert_eq!(app.get(&path).await, (StatusCode::OK, pending));

    app.succeed(id.parse().unwrap()).await;
    let done = json!({
        "image_name": "bus.jpg",
        "result": [{
            "box": { "x1": 22.875, "x2": 805.5, "y1": 231.25, "y2": 756.75 },
            "class": 5,
            "confidence": 0.87345,
            "name": "bus",
        }],
        "status": "SUCCESS",
        "task_id": id,
    });
    assert_eq!(app.get(&path).await, (StatusCode::OK, done));
}

#[tokio::test]
async fn a_failed_task_says_why() {
    let app = TestApp::start().await;
    let id = app.start_task().await;
    app.fail(id, "the picture cannot be decoded").await;
    let failed = json!({
        "task_id": id.to_string(),
        "status": "FAILURE",
        "error": "the picture cannot be decoded",
    });
    assert_eq!(app.get(&format!("/task_result/{id}")).await, (StatusCode::OK, failed));
}

#[tokio::test]
async fn every_allowed_format_is_detected_by_its_bytes() {
    let app = TestApp::start().await;
    for name in ["astronaut.png", "coffee.png"] {
        let bytes = std::fs::read(testkit::picture(name)).unwrap();
        let answer = app.post("/start_task", form(name, bytes)).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{name}");
    }
    // A PNG with the extension of a JPEG is still a picture.
    let bytes = std::fs::read(testkit::picture("coffee.png")).unwrap();
    let answer = app.post("/start_task", form("coffee.JPEG", bytes)).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn an_unknown_or_malformed_id_is_not_found() {
    let app = TestApp::start().await;
    for id in ["f94c7d98-80c4-4e5d-b543-a6fa2ca332b3", &TaskId::generate().to_string(), "no-id"] {
        let (status, body) = app.get(&format!("/task_result/{id}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let error = "Not Found. The task ID does not exist.";
        assert_eq!(body, json!({ "task_id": id, "error": error }));
    }
}

#[tokio::test]
async fn a_form_without_a_picture_gets_the_original_error() {
    let app = TestApp::start().await;
    let nothing = json!({ "error": "No image provided" });
    let forms = [Form::new(), Form::new().text("other", "x")];
    for form in forms {
        let (status, body) = json(app.post("/start_task", form).await).await;
        assert_eq!((status, body), (StatusCode::BAD_REQUEST, nothing.clone()));
    }
    let no_form = app.client.post(app.url("/start_task")).body("x").send().await.unwrap();
    assert_eq!(json(no_form).await, (StatusCode::BAD_REQUEST, nothing));
}

#[tokio::test]
async fn other_extensions_are_rejected_with_the_allowed_ones() {
    let app = TestApp::start().await;
    for name in ["bus.txt", "bus", "bus.jpg.exe", ""] {
        let (status, body) = json(app.post("/start_task", form(name, bus_bytes())).await).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name}");
        assert_eq!(body["filename"], name);
        let error = body["error"].as_str().unwrap();
        for extension in ["jpg", "jpeg", "png", "webp", "bmp", "gif"] {
            assert!(error.contains(extension), "{error}");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_not_a_complete_picture_are_rejected() {
    let app = TestApp::start().await;
    let bus = bus_bytes();
    let mut bomb = std::fs::read(testkit::picture("coffee.png")).unwrap();
    // The width and height of a PNG's header: 4 bytes each from offset 16.
    bomb[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let cases = [
        ("nothing", Vec::new()),
        ("text", b"this is not a picture".to_vec()),
        ("cut short", bus[..bus.len() / 2].to_vec()),
        ("only a header", bus[..200].to_vec()),
        ("a bomb", bomb),
    ];
    for (what, bytes) in cases {
        let (status, body) = json(app.post("/start_task", form("x.jpg", bytes)).await).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{what}: {body}");
        assert!(body["error"].is_string() && body["filename"] == "x.jpg", "{what}: {body}");
    }
    assert_eq!(app.jobs(), 0, "nothing reached the queue");
}

#[tokio::test]
async fn a_picture_with_too_many_bytes_is_rejected() {
    let app = TestApp::start_with(&[("MAX_PICTURE_BYTES", "100000")]).await;
    // Once known from Content-Length, once detected while the body arrives without one.
    let told = app.post("/start_task", form("x.jpg", vec![0; 3_000_000])).await;
    assert_eq!(told.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let (status, body) = json(app.post("/start_task", bus_form()).await).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
    assert!(body["error"].as_str().unwrap().contains("100000"), "{body}");
}

#[tokio::test]
async fn an_incomplete_body_is_rejected() {
    let app = TestApp::start().await;
    let body =
        "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\nabc";
    let request = app
        .client
        .post(app.url("/start_task"))
        .header("content-type", "multipart/form-data; boundary=X")
        .body(body);
    let (status, body) = json(request.send().await.unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods_answer_in_json() {
    let app = TestApp::start().await;
    let (status, body) = app.get("/nowhere").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body["error"].is_string());
    let answer = app.client.get(app.url("/start_task")).send().await.unwrap();
    assert_eq!(answer.headers()["allow"], "POST");
    let (status, body) = json(answer).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(body["error"].is_string());
}
