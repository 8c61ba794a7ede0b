//! The routes of the Open Inference Protocol where nothing is run: what is sent and answered, refusals, limits.

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{Priority, TaskId};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use testkit::eventually;

use crate::app::{self, TEST_TIMEOUT, TestApp, bus_bytes, error_text};

const INFER: &str = "/v2/models/yolov8n/infer";
const JSON_LENGTH: &str = "Inference-Header-Content-Length";

/// A request with pictures as base64.
fn in_json(pictures: &[&[u8]]) -> Value {
    let data: Vec<_> = pictures.iter().map(|picture| STANDARD.encode(picture)).collect();
    json!({ "inputs": [{
        "name": "image", "datatype": "BYTES", "shape": [pictures.len()], "data": data,
    }]})
}

/// The elements of a tensor behind the JSON, each after its length.
fn prefixed(pictures: &[&[u8]]) -> Vec<u8> {
    let element = |picture: &&[u8]| {
        let length = u32::try_from(picture.len()).unwrap().to_le_bytes();
        [&length[..], picture].concat()
    };
    pictures.iter().flat_map(element).collect()
}

/// The JSON of a request with `size` bytes behind it.
fn behind(shape: Value, size: usize) -> Value {
    let parameters = json!({ "binary_data_size": size });
    json!({ "inputs": [{
        "name": "image", "datatype": "BYTES", "shape": shape, "parameters": parameters,
    }]})
}

/// A request as Triton's clients send it.
fn binary(app: &TestApp, request: &Value, contents: &[u8]) -> RequestBuilder {
    let request = request.to_string();
    let body = [request.as_bytes(), contents].concat();
    app.client.post(app.url(INFER)).header(JSON_LENGTH, request.len()).body(body)
}

async fn sent(request: RequestBuilder) -> (StatusCode, Value) {
    app::json(request.send().await.unwrap()).await
}

/// The ids of the jobs in the queue, once there are `count`, in the order of submission.
async fn queued(app: &TestApp, count: usize) -> Vec<TaskId> {
    let worker = app.worker_side().await;
    let mut ids = eventually(TEST_TIMEOUT, async || {
        worker.queue().task_ids().await.ok().filter(|ids| ids.len() == count)
    })
    .await;
    ids.sort();
    ids
}

#[tokio::test]
async fn pictures_are_jobs_of_high_priority_that_expire_soon() {
    let app = TestApp::start().await;
    let bus = bus_bytes();
    let mut request = in_json(&[&bus, &bus]);
    request["id"] = json!("a-7");
    request["parameters"] = json!({ "conf": 0.5, "max_detections": "7", "timeout": 1 });
    let answer = tokio::spawn(sent(app.client.post(app.url(INFER)).json(&request)));
    let ids = queued(&app, 2).await;
    for id in &ids {
        let job = app.succeed(*id).await.job;
        assert_eq!(job.priority, Priority::High);
        assert_eq!((job.settings.confidence.get(), job.settings.max_detections.get()), (0.5, 7));
        let wait = job.deadline.unwrap() - job.submitted_at;
        assert_eq!(wait, time::Duration::seconds(60));
    }
    let (status, answer) = answer.await.unwrap();
    assert_eq!(status, StatusCode::OK, "{answer}");
    let expected = json!({
        "model_name": "yolov8n",
        "model_version": "1",
        "id": "a-7",
        "parameters": { "task_ids": format!("{},{}", ids[0], ids[1]) },
        "outputs": [
            { "name": "num_detections", "datatype": "INT32", "shape": [2], "data": [1, 1] },
            {
                "name": "boxes", "datatype": "FP32", "shape": [2, 1, 4],
                "data": [22.875, 231.25, 805.5, 756.75, 22.875, 231.25, 805.5, 756.75],
            },
            { "name": "scores", "datatype": "FP32", "shape": [2, 1], "data": [0.87345, 0.87345] },
            { "name": "classes", "datatype": "INT32", "shape": [2, 1], "data": [5, 5] },
            { "name": "labels", "datatype": "BYTES", "shape": [2, 1], "data": ["bus", "bus"] },
        ],
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn outputs_are_sent_as_the_request_says() {
    let app = TestApp::start().await;
    let contents = prefixed(&[&bus_bytes()]);
    let mut request = behind(json!([1, 1]), contents.len());
    request["parameters"] = json!({ "binary_data_output": true });
    request["outputs"] = json!([
        { "name": "labels" },
        { "name": "scores", "parameters": { "binary_data": false } },
        { "name": "num_detections", "parameters": { "binary_data": true } },
    ]);
    let answer = tokio::spawn(binary(&app, &request, &contents).send());
    app.succeed(queued(&app, 1).await[0]).await;
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    let length: usize = answer.headers()[JSON_LENGTH].to_str().unwrap().parse().unwrap();
    let body = answer.bytes().await.unwrap();
    let (text, contents) = body.split_at(length);
    let parsed: Value = serde_json::from_slice(text).unwrap();
    let expected = json!([
        {
            "name": "labels", "datatype": "BYTES", "shape": [1, 1],
            "parameters": { "binary_data_size": 7 },
        },
        { "name": "scores", "datatype": "FP32", "shape": [1, 1], "data": [0.87345] },
        {
            "name": "num_detections", "datatype": "INT32", "shape": [1],
            "parameters": { "binary_data_size": 4 },
        },
    ]);
    assert_eq!(parsed["outputs"], expected);
    assert_eq!(contents, b"\x03\0\0\0bus\x01\0\0\0");
}

#[tokio::test]
async fn a_body_without_json_is_one_picture() {
    let app = TestApp::start().await;
    let request = app.client.post(app.url("/v2/models/yolov8n/versions/1/infer"));
    let answer = tokio::spawn(sent(request.header(JSON_LENGTH, 0).body(bus_bytes())));
    let id = queued(&app, 1).await[0];
    app.fail(id, "it is damaged").await;
    let (status, body) = answer.await.unwrap();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body, json!({ "error": "picture 0: it is damaged" }));
}

#[tokio::test]
async fn tensors_that_are_no_pictures_are_refused_in_words() {
    let app = TestApp::start_with(&[("MAX_PICTURE_BYTES", "200000")]).await;
    let bus = bus_bytes();
    let one = in_json(&[&bus]);
    let with = |member: &str, value: Value| {
        let mut request = one.clone();
        request["inputs"][0][member] = value;
        request
    };
    let output = |output: Value| {
        let mut request = one.clone();
        request["outputs"] = json!([output]);
        request
    };
    let mut twice = one.clone();
    twice["outputs"] = json!([{ "name": "boxes" }, { "name": "boxes" }]);
    let shared = json!({ "shared_memory_region": "a" });
    let many: Vec<&[u8]> = vec![b"a"; 33];
    let mut parameters = one.clone();
    parameters["parameters"] = json!({ "conf": 2 });
    let cases = [
        (twice, 400, "output 'boxes' is asked for twice"),
        (json!([]), 400, "cannot be read"),
        (json!({}), 400, "missing field `inputs`"),
        (json!({ "inputs": "a".repeat(9000) }), 400, "cannot be read: invalid type"),
        (json!({ "inputs": [] }), 400, "one input, 'image', and the request has none"),
        (with("name", json!("INPUT0")), 400, "the request has 'INPUT0'"),
        (json!({ "inputs": [one["inputs"][0], one["inputs"][0]] }), 400, "'image', 'image'"),
        (with("datatype", json!("FP32")), 400, "got 'FP32'"),
        (with("shape", json!([1, 640, 640, 3])), 400, "got [1, 640, 640, 3]"),
        (with("shape", json!([0])), 400, "got [0]"),
        (with("shape", json!([-1])), 400, "got [-1]"),
        (with("shape", json!([2])), 400, "has shape [2], and 1 pictures"),
        (with("shape", json!([1_000_000])), 413, "may have 32 pictures, got 1000000"),
        (in_json(&many), 400, "more than 32 elements"),
        (with("data", json!(null)), 400, "neither data nor binary_data_size"),
        (with("data", json!([1])), 400, "pictures as base64"),
        (with("data", json!(["%"])), 400, "picture 0 of 'image' is not base64"),
        (with("data", json!(["bm8gcGljdHVyZQ=="])), 400, "picture 0 of 'image'"),
        (with("parameters", json!({ "binary_data_size": 9 })), 400, "both data and"),
        (behind(json!([1]), 9), 400, "9, and 0 bytes follow the JSON"),
        (with("parameters", shared.clone()), 400, "shared memory is not supported"),
        (in_json(&[&bus[..9000]]), 400, "picture 0 of 'image'"),
        (in_json(&[&bus, b""]), 400, "picture 1 of 'image'"),
        (
            output(json!({ "name": "logits" })),
            400,
            "no output 'logits', there are: num_detections,",
        ),
        (output(json!({ "name": "boxes", "parameters": shared })), 400, "shared memory"),
        (
            output(json!({ "name": "scores", "parameters": { "classification": 3 } })),
            400,
            "classification of output 'scores'",
        ),
        (parameters, 400, "confidence must be a number from 0 to 1"),
    ];
    for (request, status, expected) in cases {
        let (found, body) = sent(app.client.post(app.url(INFER)).json(&request)).await;
        let text = error_text(&body);
        assert!(text.contains(expected) && found.as_u16() == status, "{found} {text}: {expected}");
        assert!(text.len() < 400, "{} bytes", text.len());
    }
    assert_eq!(app.jobs(), 0);
    let refused = "reason=\"invalid_body\"";
    assert!(app.metric("spotter_uploads_refused_total", refused).await.unwrap() > 5);
}

#[tokio::test]
async fn contents_that_do_not_match_the_json_are_refused() {
    let app = TestApp::start_with(&[("MAX_PICTURE_BYTES", "200000")]).await;
    let bus = bus_bytes();
    let contents = prefixed(&[&bus]);
    let size = contents.len();
    let many = prefixed(&vec![&b"a"[..]; 33]);
    let large = prefixed(&[&vec![0; 200_001]]);
    let cases = [
        (behind(json!([1]), size + 1), &contents[..], 400, "bytes follow the JSON"),
        (
            behind(json!([1]), size - 1),
            &contents[..size - 1],
            400,
            "picture 0 of 'image' is cut off",
        ),
        (behind(json!([1]), 2), &contents[..2], 400, "it needs 4 bytes, and 2 follow"),
        (behind(json!([2]), size), &contents[..], 400, "has shape [2], and 1 pictures"),
        (behind(json!([1]), 0), b"", 400, "has shape [1], and 0 pictures"),
        (behind(json!([32]), many.len()), &many[..], 413, "may have 32 pictures, got 33"),
        (behind(json!([1]), large.len()), &large[..], 413, "picture 0 of 'image'"),
        (in_json(&[&bus]), b"abc", 400, "0, and 3 bytes follow the JSON"),
    ];
    for (request, contents, status, expected) in cases {
        let (found, body) = sent(binary(&app, &request, contents)).await;
        let text = error_text(&body);
        assert!(text.contains(expected) && found.as_u16() == status, "{found} {text}: {expected}");
    }
    for (length, expected) in [
        ("7000000", "and the body has only"),
        ("-1", "must be a number of bytes, got '-1'"),
        ("many", "must be a number of bytes, got 'many'"),
        ("18446744073709551616", "must be a number of bytes"),
        ("5", "the JSON of the request cannot be read"),
    ] {
        let text = behind(json!([1]), size).to_string();
        let body = [text.as_bytes(), &contents].concat();
        let request = app.client.post(app.url(INFER)).header(JSON_LENGTH, length).body(body);
        let (status, body) = sent(request).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{length}");
        assert!(error_text(&body).contains(expected), "{length}: {body}");
    }
    let compressed = binary(&app, &behind(json!([1]), size), &contents);
    let (status, body) = sent(compressed.header("content-encoding", "gzip")).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{body}");
    let too_large = binary(&app, &behind(json!([1]), 2_000_000), &vec![0; 2_000_000]);
    let (status, body) = sent(too_large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{body}");
    assert_eq!(app.jobs(), 0);
}

#[tokio::test]
async fn models_are_described_as_the_protocol_has_it() {
    let app = TestApp::start().await;
    app.install("helmets").await;
    let (_, server) = app.get("/v2").await;
    assert_eq!(
        (&server["name"], &server["extensions"]),
        (&json!("spotter"), &json!(["binary_tensor_data"]))
    );
    let expected = json!({
        "name": "helmets",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{ "name": "image", "datatype": "BYTES", "shape": [-1] }],
        "outputs": [
            { "name": "num_detections", "datatype": "INT32", "shape": [-1] },
            { "name": "boxes", "datatype": "FP32", "shape": [-1, -1, 4] },
            { "name": "scores", "datatype": "FP32", "shape": [-1, -1] },
            { "name": "classes", "datatype": "INT32", "shape": [-1, -1] },
            { "name": "labels", "datatype": "BYTES", "shape": [-1, -1] },
        ],
    });
    for path in ["/v2/models/helmets", "/v2/models/helmets/versions/1"] {
        assert_eq!(app.get(path).await, (StatusCode::OK, expected.clone()), "{path}");
    }
    for path in ["/v2/models/helmets/ready", "/v2/models/helmets/versions/1/ready"] {
        let (status, body) = app.get(path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(body, json!({ "error": "no worker serves the model 'helmets'" }));
    }
    let (_, index) = sent(app.client.post(app.url("/v2/repository/index"))).await;
    let listed = |name| json!({ "name": name, "version": "1", "state": "UNAVAILABLE", "reason": "no worker serves it" });
    assert_eq!(index, json!([listed("helmets"), listed("yolov8n")]));
    assert_eq!(app.get("/v2/health/live").await, (StatusCode::OK, json!({ "live": true })));
    assert_eq!(app.get("/v2/health/ready").await, (StatusCode::OK, json!({ "ready": true })));
}

#[tokio::test]
async fn an_unknown_model_or_version_is_404() {
    let app = TestApp::start().await;
    for path in ["/v2/models/nowhere", "/v2/models/..x/ready", "/v2/models/yolov8n/versions/2"] {
        let (status, body) = app.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(error_text(&body).starts_with("there is no "), "{path}: {body}");
    }
    let request = in_json(&[&bus_bytes()]);
    for path in [
        "/v2/models/nowhere/infer",
        "/v2/models/a%20b/infer",
        "/v2/models/yolov8n/versions/2/infer",
    ] {
        let (status, body) = sent(app.client.post(app.url(path)).json(&request)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(error_text(&body).starts_with("there is no "), "{path}: {body}");
    }
    let (status, body) = app.get("/v2/nowhere").await;
    assert_eq!((status, body["error"].is_string()), (StatusCode::NOT_FOUND, true), "{body}");
    assert_eq!(app.jobs(), 0);
}

#[tokio::test]
async fn pictures_before_one_that_does_not_fit_the_queue_are_cancelled() {
    let app = TestApp::start_with(&[("QUEUE_MAX_MESSAGES", "2")]).await;
    let bus = bus_bytes();
    let request = in_json(&[&bus, &bus, &bus]);
    let (status, body) = sent(app.client.post(app.url(INFER)).json(&request)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    eventually(TEST_TIMEOUT, async || (app.jobs() == 0).then_some(())).await;
    let (_, list) = app.get("/v1/tasks").await;
    let states: Vec<_> =
        list["tasks"].as_array().unwrap().iter().map(|task| &task["state"]).collect();
    assert_eq!(states, ["REVOKED", "REVOKED"], "{list}");
}

#[tokio::test]
async fn a_body_takes_a_place_among_the_uploads() {
    let app = TestApp::start_with(&[("MAX_CONCURRENT_UPLOADS", "1")]).await;
    let endless = reqwest::Body::wrap_stream(futures_util::stream::pending::<
        Result<Vec<u8>, std::io::Error>,
    >());
    let endless = app.client.post(app.url(INFER)).header(JSON_LENGTH, 0).body(endless);
    let _upload = tokio::spawn(endless.send());
    eventually(TEST_TIMEOUT, async || {
        app.metric("spotter_uploads_in_memory", "").await.filter(|uploads| *uploads == 1)
    })
    .await;
    let request = in_json(&[&bus_bytes()]);
    let answer = app.client.post(app.url(INFER)).json(&request).send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "5");
    let (status, body) = app::json(answer).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    let refused = "reason=\"too_many_uploads\"";
    assert_eq!(app.metric("spotter_uploads_refused_total", refused).await, Some(1));
}

#[tokio::test]
async fn a_picture_that_is_not_run_in_time_is_504() {
    let app = TestApp::start().await;
    let request = app.client.post(app.url(INFER)).json(&in_json(&[&bus_bytes()]));
    let answer = tokio::spawn(sent(request));
    queued(&app, 1).await;
    // An API that stops holds no answers back.
    app.stop();
    let (status, body) = answer.await.unwrap();
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert!(error_text(&body).starts_with("no worker has run"), "{body}");
}

#[tokio::test]
async fn the_setting_turns_the_routes_off() {
    let app = TestApp::start_with(&[("OPEN_INFERENCE_API", "off")]).await;
    for path in ["/v2", "/v2/health/live", "/v2/models/yolov8n"] {
        let (status, body) = app.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(error_text(&body).contains("OPEN_INFERENCE_API=off"), "{path}: {body}");
    }
    let request = app.client.post(app.url(INFER)).json(&in_json(&[&bus_bytes()]));
    assert_eq!(sent(request).await.0, StatusCode::NOT_FOUND);
    assert_eq!(app.jobs(), 0);
}
