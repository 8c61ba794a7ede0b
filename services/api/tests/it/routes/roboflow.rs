//! The routes of Roboflow's inference server where nothing is run: keys, limits, errors, models.

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{DrawingFormat, Priority};
use messaging::ApiKeys;
use reqwest::{RequestBuilder, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use testkit::{HttpServer, eventually, http_answer};

use super::held::{INVALID_KEY, NO_KEY, endless, key, run, run_all, sent, waiting};
use crate::app::{self, TEST_TIMEOUT, TestApp, bus_bytes};

const INFER: &str = "/infer/object_detection";

fn image() -> Value {
    json!({ "type": "base64", "value": STANDARD.encode(bus_bytes()) })
}

/// A request as the client makes it, with its members in its order.
fn request(image: Value) -> Value {
    json!({ "api_key": null, "model_id": "yolov8n", "image": image })
}

fn with(name: &str, value: Value) -> Value {
    let mut body = request(image());
    body[name] = value;
    body
}

fn post(app: &TestApp, path: &str, body: &Value) -> RequestBuilder {
    app.client.post(app.url(path)).json(body)
}

fn started_with(app: &TestApp, path: &str, start: &str) -> RequestBuilder {
    let request = app.client.post(app.url(path)).header(CONTENT_TYPE, "application/json");
    request.body(endless(start))
}

/// The path with this key in its query.
fn keyed(path: &str, key: &str) -> String {
    format!("{path}?api_key={key}")
}

#[tokio::test]
async fn a_box_is_given_by_its_centre() {
    let app = TestApp::start().await;
    let mut body = with("confidence", json!(0.3));
    for (name, value) in [
        ("iou_threshold", json!(0.6)),
        ("max_detections", json!(7)),
        ("class_agnostic_nms", json!(true)),
        ("class_filter", json!(["bus"])),
        ("max_candidates", json!(3000)),
        ("disable_active_learning", json!(true)),
        ("source", json!("a script")),
    ] {
        body[name] = value;
    }
    let path = format!("{INFER}?countinference=False&service_secret=s");
    let (record, status, answer) = run(&app, post(&app, &path, &body)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["image"], json!({ "width": 810, "height": 1080 }));
    assert_eq!(answer["inference_id"], record.job.task_id.to_string());
    assert!(answer["time"].as_f64().unwrap() > 0.0 && answer["visualization"].is_null());
    let mut prediction = answer["predictions"][0].clone();
    assert!(prediction["detection_id"].take().is_string());
    let expected = json!({
        "x": 414.1875, "y": 494.0, "width": 782.625, "height": 525.5, "confidence": 0.87345, "class": "bus",
        "class_id": 5, "detection_id": null,
    });
    assert_eq!(prediction, expected);
    let (job, settings) = (&record.job, &record.job.settings);
    assert_eq!((settings.confidence.get(), settings.iou.get()), (0.3, 0.6));
    assert_eq!((settings.max_detections.get(), settings.class_agnostic), (7, true));
    assert_eq!((settings.classes.to_string().as_str(), job.priority), ("bus", Priority::High));
    let wait = job.deadline.unwrap() - job.submitted_at;
    assert_eq!(wait, time::Duration::seconds(60));
}

#[tokio::test]
async fn a_list_is_answered_with_a_list_and_each_picture_is_counted() {
    let server = HttpServer::start(|request| match request.path() {
        "/bus.jpg" => Some(http_answer("200 OK", "", &bus_bytes())),
        _ => Some(http_answer("404 Not Found", "", b"")),
    });
    let settings = [("AUTH", "keys"), ("FETCH_ALLOW", &*server.origin())];
    let app = TestApp::start_with(&settings).await;
    let token = key(&app, Some("3/h")).await;
    let by_url =
        |path: &str| json!({ "type": "url", "value": format!("{}{path}", server.origin()) });
    let two = request(json!([image(), by_url("/bus.jpg")]));
    let (records, status, answer) =
        run_all(&app, post(&app, INFER, &two).bearer_auth(token.expose()), 2).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer.as_array().unwrap().len(), 2);
    let names: Vec<_> = records.iter().map(|record| record.job.picture_name.as_str()).collect();
    assert!(names.contains(&"bus.jpg"), "{names:?}");

    let answer = post(&app, INFER, &two).bearer_auth(token.expose()).send().await.unwrap();
    assert!(answer.headers().contains_key("retry-after"));
    let (status, body) = app::json(answer).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{body}");

    let other = key(&app, Some("3/h")).await;
    let four = request(json!([image(), image(), image(), image()]));
    let (status, body) = sent(post(&app, INFER, &four).bearer_auth(other.expose())).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    assert!(body["message"].as_str().unwrap().contains("send fewer"), "{body}");
    // The picture before one that cannot be accepted is cancelled.
    let one_missing = request(json!([image(), by_url("/none")]));
    let (status, body) = sent(post(&app, INFER, &one_missing).bearer_auth(other.expose())).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    assert_eq!(app.jobs(), 0);
}

#[tokio::test]
async fn pictures_are_not_read_before_a_key_is_known() {
    let app = TestApp::start_with(&[("AUTH", "keys")]).await;
    let token = key(&app, None).await;
    let (good, wrong) = (token.expose(), ApiKeys::new_token());
    let image_first = format!(r#"{{"image": {{"type": "base64", "value": "{}"#, "A".repeat(5000));
    let with_null = format!("{{\"api_key\": null, {}", &image_first[1..]);
    let with_wrong = format!("{{\"api_key\": \"{}\", {}", wrong.expose(), &image_first[1..]);
    for (refused, challenge) in [
        (started_with(&app, INFER, &image_first), NO_KEY),
        (started_with(&app, INFER, &image_first).bearer_auth("wrong"), INVALID_KEY),
        (started_with(&app, &keyed(INFER, wrong.expose()), &image_first), INVALID_KEY),
        (started_with(&app, INFER, &with_null), NO_KEY),
        (started_with(&app, INFER, &with_wrong), INVALID_KEY),
        (app.client.get(app.url("/model/registry?api_key=None")), NO_KEY),
        (app.client.post(app.url("/model/clear")), NO_KEY),
        (post(&app, "/model/add", &json!({ "model_id": "yolov8n", "api_key": "" })), NO_KEY),
    ] {
        let answer = refused.send().await.unwrap();
        assert_eq!(answer.headers()["www-authenticate"], challenge);
        let (status, body) = app::json(answer).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
        assert!(body["message"].as_str().unwrap().contains("key"), "{body}");
    }
    assert_eq!(app.jobs(), 0);

    let mut in_body = request(image());
    in_body["api_key"] = json!(good);
    let in_query = post(&app, &keyed(INFER, good), &request(image()));
    for request in [post(&app, INFER, &in_body), in_query] {
        let request = request.header("cache-control", "no-cache");
        let (record, status, answer) = run(&app, request).await;
        assert_eq!((status, record.job.owner), (StatusCode::OK, Some(token.id())), "{answer}");
    }
    let list = app.client.get(app.url(&keyed("/model/registry", good)));
    assert_eq!(sent(list).await.0, StatusCode::OK);
    assert_eq!(app.get("/info").await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_error_is_a_text_in_message() {
    let settings = [("MAX_PICTURE_BYTES", "500000"), ("RESPONSE_CACHE_SECONDS", "0")];
    let app = TestApp::start_with(&settings).await;
    let of = |kind: &str, value: &str| request(json!({ "type": kind, "value": value }));
    let text = |text: &'static str| app.client.post(app.url(INFER)).body(text);
    let infer = |body: Value| post(&app, INFER, &body);
    let cases = [
        (text(""), 400, "the JSON body cannot be read: EOF"),
        (text("[]"), 400, "the JSON body cannot be read"),
        (text("{\"api_key\": 7, \"image\": "), 400, "the JSON body cannot be read"),
        (infer(json!({ "model_id": "yolov8n" })), 400, "missing field `image`"),
        (infer(json!({ "image": image() })), 400, "the request has no model_id"),
        (infer(of("numpy", "gASV")), 400, "an image of type \"numpy\" is not read"),
        (infer(of("base64", "%")), 400, "the picture is not base64"),
        (infer(of("base64", "AP8=")), 400, "these bytes are no JPEG"),
        (infer(of("url", "file:///etc/passwd")), 400, "url cannot be used"),
        (infer(of("url", "https://169.254.169.254/latest")), 403, "url cannot be used"),
        (infer(request(json!([]))), 400, "the list has no image"),
        (infer(with("confidence", json!(2))), 400, "confidence must be a number from 0 to 1"),
        (infer(with("confidence", json!([0, 0]))), 400, "expected a text, a number"),
        (infer(with("class_filter", json!(vec!["a"; 101]))), 400, "at most 100 elements"),
        (infer(with("iou_threshold", json!("x".repeat(5000)))), 400, "xxx"),
        (infer(with("max_detections", json!(0))), 400, "max_detections must be"),
        (infer(with("model_id", json!("nowhere"))), 404, "there is no model 'nowhere', there are"),
        (infer(with("model_id", json!("a/b/c"))), 404, "there is no model 'a/b/c'"),
        (infer(with("source", json!("x".repeat(2_000_000)))), 413, "more than"),
        (
            post(&app, "/infer/instance_segmentation", &json!({})),
            404,
            "'instance_segmentation' is not supported",
        ),
        (post(&app, "/a/workflows/b", &json!({})), 404, "workflows are not supported"),
        (post(&app, "/infer/workflows/a/b", &json!({})), 404, "workflows are not supported"),
        (post(&app, "/workflows/run", &json!({})), 404, "workflows are not supported"),
        (
            post(&app, "/model/add", &json!({ "model_id": "nowhere/1" })),
            404,
            "there is no model 'nowhere/1'",
        ),
        (post(&app, "/model/add", &json!({})), 400, "missing field `model_id`"),
    ];
    for (request, expected, text) in cases {
        let (status, body) = sent(request).await;
        assert_eq!(status.as_u16(), expected, "{body}");
        let message = body["message"].as_str().unwrap();
        assert!(message.contains(text) && message.len() < 1000, "{text}: {body}");
    }
    assert_eq!(app.jobs(), 0);

    let answer = tokio::spawn(sent(infer(request(image()))));
    app.fail(waiting(&app, 1).await[0], "its pixels are damaged").await;
    let (status, body) = answer.await.unwrap();
    assert_eq!(
        (status, &body["message"]),
        (StatusCode::BAD_REQUEST, &json!("its pixels are damaged"))
    );
}

#[tokio::test]
async fn a_model_is_listed_under_the_id_that_is_asked_for() {
    let app = TestApp::start().await;
    app.install("helmets-3").await;
    let model = |id: &str| json!({ "model_id": id, "task_type": "object-detection", "input_height": 640, "input_width": 640 });
    let default = json!({ "model_id": "yolov8n", "task_type": "object-detection" });
    let (status, list) = app.get("/model/registry").await;
    assert_eq!(
        (status, list),
        (StatusCode::OK, json!({ "models": [model("helmets-3"), default] }))
    );
    for path in ["/model/add", "/model/remove"] {
        let (status, list) = sent(post(&app, path, &json!({ "model_id": "helmets/3" }))).await;
        assert_eq!((status, &list["models"][0]), (StatusCode::OK, &model("helmets/3")), "{path}");
    }
    let (status, list) = sent(app.client.post(app.url("/model/clear"))).await;
    assert_eq!((status, list["models"].as_array().unwrap().len()), (StatusCode::OK, 2));
    let (record, status, _) =
        run(&app, post(&app, INFER, &with("model_id", json!("helmets/3")))).await;
    assert_eq!((status, record.job.model.as_str()), (StatusCode::OK, "helmets-3"));
    let (_, info) = app.get("/info").await;
    assert_eq!((&info["name"], &info["version"]), (&json!("spotter"), &json!(service::VERSION)));
    assert_eq!(app.get("/info").await.1, info, "it is the same process");
}

/// Stores a drawing of so many bytes and the result, as a worker does.
async fn draw(app: &TestApp, bytes: u32) -> Vec<u8> {
    let id = waiting(app, 1).await[0];
    let drawings = app.worker_side().await.drawings();
    let file: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
    let stored = drawings.put(id, DrawingFormat::Jpeg, file.clone().into()).await.unwrap();
    let drawing = stored.drawing();
    stored.keep();
    let record = app.succeed_with(id, &[], Some(drawing)).await;
    assert_eq!(record.job.annotated, Some(DrawingFormat::Jpeg));
    file
}

#[tokio::test]
async fn a_drawing_is_in_the_answer_if_it_is_asked_for() {
    let app = TestApp::start().await;
    let answer = tokio::spawn(sent(post(&app, INFER, &with("visualize_predictions", json!(true)))));
    let file = draw(&app, 300_000).await;
    let (status, answer) = answer.await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(STANDARD.decode(answer["visualization"].as_str().unwrap()).unwrap(), file);
}

#[tokio::test]
async fn a_drawing_takes_a_place_until_the_client_has_read_it() {
    let app = TestApp::start_with(&[("MAX_CONCURRENT_UPLOADS", "1")]).await;
    let request = post(&app, INFER, &with("visualize_predictions", json!(true)));
    let answer = tokio::spawn(request.send());
    // More than the connection's buffers take.
    draw(&app, 24_000_000).await;
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(app.metric("spotter_uploads_in_memory", "").await, Some(1));
    let length = answer.content_length();
    assert_eq!(answer.bytes().await.unwrap().len() as u64, length.unwrap());
    eventually(TEST_TIMEOUT, async || {
        app.metric("spotter_uploads_in_memory", "").await.filter(|uploads| *uploads == 0)
    })
    .await;
}

#[tokio::test]
async fn a_body_takes_a_place_among_the_uploads_once_its_key_is_known() {
    let app = TestApp::start_with(&[("AUTH", "keys"), ("MAX_CONCURRENT_UPLOADS", "1")]).await;
    let token = key(&app, None).await;
    let start = format!("{{\"api_key\": \"{}\", {}", token.expose(), " ".repeat(5000));
    let _upload = tokio::spawn(started_with(&app, INFER, &start).send());
    eventually(TEST_TIMEOUT, async || {
        app.metric("spotter_uploads_in_memory", "").await.filter(|uploads| *uploads == 1)
    })
    .await;
    let infer = post(&app, INFER, &request(image()));
    let (status, body) = sent(infer.bearer_auth(token.expose())).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    let refused = "reason=\"too_many_uploads\"";
    assert_eq!(app.metric("spotter_uploads_refused_total", refused).await, Some(1));
    let list = app.client.get(app.url("/model/registry")).bearer_auth(token.expose());
    assert_eq!(sent(list).await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_routes_can_be_turned_off() {
    let app = TestApp::start_with(&[("ROBOFLOW_API", "off")]).await;
    for path in [INFER, "/model/add", "/workflows/run", "/a/workflows/b"] {
        let (status, body) = sent(post(&app, path, &request(image()))).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(body["message"].as_str().unwrap().contains("ROBOFLOW_API=off"), "{body}");
    }
    assert_eq!(app.get("/info").await.0, StatusCode::NOT_FOUND);
    assert_eq!(app.jobs(), 0);
}
