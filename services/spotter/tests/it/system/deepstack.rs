//! Clients of DeepStack and CodeProject.AI get what they read.

use std::fs;

use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use testkit::picture;

use crate::harness::System;

const BOUNDARY: &str = "9d1f0c7c0f6c4c1d8b1e";

/// A form, part by part as a client has written it: each part's header lines, and its content.
fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (head, content) in parts {
        body.extend_from_slice(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

async fn post(system: &System, path: &str, body: Vec<u8>) -> (StatusCode, Value) {
    let request = system.http.post(format!("{}{path}", system.base));
    let media_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let answer = request.header(CONTENT_TYPE, media_type).body(body).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

fn bus() -> Vec<u8> {
    fs::read(picture("bus.jpg")).unwrap()
}

/// As Frigate's detector sends a picture: by Python's requests, with the key before it, and without a confidence.
fn by_frigate() -> Vec<u8> {
    let image = "Content-Disposition: form-data; name=\"image\"; filename=\"image\"";
    form(&[("Content-Disposition: form-data; name=\"api_key\"", b""), (image, &bus())])
}

/// As Blue Iris does, with the confidence behind the picture.
fn by_blue_iris(min_confidence: &str) -> Vec<u8> {
    let image = "Content-Disposition: form-data; name=\"image\"; filename=\"image.jpg\"\r\nContent-Type: image/jpeg";
    let confidence = "Content-Disposition: form-data; name=\"min_confidence\"";
    form(&[(image, &bus()), (confidence, min_confidence.as_bytes())])
}

/// Label and corners of each prediction, as Frigate and Home Assistant read them.
fn rows(answer: &Value) -> Vec<(&str, [i64; 4])> {
    let row = |prediction: &'_ Value| -> [i64; 4] {
        ["x_min", "y_min", "x_max", "y_max"].map(|side| prediction[side].as_i64().unwrap())
    };
    let predictions = answer["predictions"].as_array().unwrap().iter();
    predictions.map(|prediction| (prediction["label"].as_str().unwrap(), row(prediction))).collect()
}

#[tokio::test]
async fn each_client_reads_the_objects_of_its_picture() {
    let system = System::start();
    let _worker = system.worker();
    let (status, answer) = post(&system, "/v1/vision/detection", by_frigate()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    // Those of the reference with a confidence of 0.4 or more, cut to whole pixels.
    let expected = [
        ("bus", [22, 231, 805, 756]),
        ("person", [48, 398, 245, 902]),
        ("person", [669, 392, 809, 877]),
        ("person", [221, 405, 344, 857]),
    ];
    assert_eq!(rows(&answer), expected, "{answer}");
    assert_eq!((&answer["success"], &answer["code"]), (&json!(true), &json!(200)));
    assert_eq!((&answer["count"], &answer["message"]), (&json!(4), &json!("Found bus, person")));
    let confidences: Vec<f64> = answer["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|prediction| prediction["confidence"].as_f64().unwrap())
        .collect();
    assert_eq!(confidences[0], 0.87345);
    assert!(confidences.is_sorted_by(|one, next| one >= next), "{confidences:?}");

    let task = system.task(answer["requestId"].as_str().unwrap().parse().unwrap()).await;
    assert!(task.is_terminal());
    let (_, answer) = post(&system, "/v1/vision/custom/general", by_blue_iris("0.87")).await;
    assert_eq!(rows(&answer), expected[..1], "{answer}");
    assert_eq!((&answer["command"], &answer["moduleId"]), (&json!("custom"), &json!("yolov8n")));
}

#[tokio::test]
async fn an_error_has_the_words_that_clients_compare() {
    let system = System::start_with(&[("RESPONSE_CACHE_SECONDS", "0")]);
    let _worker = system.worker();
    let image = "Content-Disposition: form-data; name=\"image\"; filename=\"x.jpg\"";
    let in_file = "Content-Disposition: form-data; name=\"file\"; filename=\"bus.jpg\"";
    let detection = "/v1/vision/detection";
    let no_image = "No valid image file found";
    let cases = [
        (detection, form(&[]), 400, no_image),
        (detection, form(&[(in_file, &bus())]), 400, no_image),
        (detection, b"no form".to_vec(), 400, "invalid image file"),
        (detection, form(&[(image, b"no picture")]), 400, "invalid image file"),
        (detection, form(&[(image, &bus()[..9000])]), 400, "invalid image file"),
        (detection, by_blue_iris("high"), 400, "Invalid value for min_confidence"),
        (detection, by_blue_iris("-1"), 400, "Invalid value for min_confidence"),
        (detection, by_blue_iris("1.5"), 400, "min_confidence cannot be greater than 1"),
        ("/v1/vision/custom/nowhere", by_blue_iris("0.5"), 404, "there is no model 'nowhere'"),
        ("/v1/vision/custom/..x", by_blue_iris("0.5"), 404, "there is no model '..x'"),
    ];
    for (path, body, status, error) in cases {
        let (found, answer) = post(&system, path, body).await;
        assert_eq!(found.as_u16(), status, "{answer}");
        assert_eq!((&answer["success"], &answer["code"]), (&json!(false), &json!(500)));
        assert!(answer["error"].as_str().unwrap().starts_with(error), "{answer}");
        assert!(!answer["message"].as_str().unwrap().is_empty(), "{answer}");
    }
}

#[tokio::test]
async fn lists_and_status_are_those_of_the_servers() {
    let system = System::start();
    let _worker = system.worker();
    for path in ["/v1/vision/custom/list", "/v1/vision/listmodels"] {
        let answer = system.http.post(format!("{}{path}", system.base)).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let name = |model: &Value| model["name"].as_str().or(model.as_str()).unwrap().to_owned();
        let names: Vec<_> = answer["models"].as_array().unwrap().iter().map(name).collect();
        assert!(names.contains(&"yolov8n".to_owned()), "{path}: {answer}");
    }
    for path in ["/v1/status/ping", "/v1/status/version", "/v1/server/status/updateavailable"] {
        let answer = system.http.get(format!("{}{path}", system.base)).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!((&answer["success"], &answer["updateAvailable"]), (&json!(true), &json!(false)));
        assert!(answer["version"]["minor"].is_u64(), "{answer}");
    }
}
