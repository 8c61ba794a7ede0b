//! Roboflow's own client gets the objects that `/v1` gives.

use serde_json::{Value, json};

use super::client_package::{detect_with, key, objects_of_v1};
use crate::harness::System;

/// What a pixel's place may differ by: corners and centres are rounded, each to five decimals.
const ROUNDING: f64 = 2e-5;

/// Checks that an answer of the client has these objects of `/v1`.
fn assert_same(answer: &Value, objects: &[Value]) {
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), objects.len(), "{answer}");
    for (found, object) in predictions.iter().zip(objects) {
        for (name, expected) in
            [("class", "label"), ("class_id", "class_id"), ("confidence", "confidence")]
        {
            assert_eq!(found[name], object[expected], "{found} {object}");
        }
        let place = |name: &str| found[name].as_f64().unwrap();
        let side = |name: &str| object["bbox"][name].as_f64().unwrap();
        for (found, expected) in [
            (place("x"), (side("x1") + side("x2")) / 2.0),
            (place("y"), (side("y1") + side("y2")) / 2.0),
            (place("width"), side("x2") - side("x1")),
            (place("height"), side("y2") - side("y1")),
        ] {
            assert!((found - expected).abs() <= ROUNDING, "{found} {expected} {object}");
        }
    }
    assert_eq!(answer["image"], json!({ "width": 810, "height": 1080 }));
}

#[tokio::test]
async fn the_package_returns_the_objects_of_v1() {
    let system = System::start_with(&[("AUTH", "keys"), ("RESPONSE_CACHE_SECONDS", "0")]);
    let _worker = system.worker();
    let key = key(&system);
    let found = match detect_with("detect-with-roboflow", &system, &key) {
        Ok(found) => found,
        Err(skipped) => return eprintln!("SKIPPED: {skipped}"),
    };
    assert_eq!(found["name"], "spotter");
    assert!(found["models"].as_array().unwrap().contains(&json!("yolov8n")), "{found}");
    let objects = objects_of_v1(&system, &key, "confidence=0.4&iou=0.3").await;
    assert!(objects.len() >= 3, "{objects:?}");
    assert_same(&found["one"], &objects);
    let corners = found["corners"].as_array().unwrap();
    for (found, object) in corners.iter().zip(&objects) {
        let sides = ["x1", "y1", "x2", "y2"].map(|side| object["bbox"][side].as_f64().unwrap());
        let found: Vec<f64> = serde_json::from_value(found.clone()).unwrap();
        // supervision computes with 32 bits.
        assert!(
            found.iter().zip(sides).all(|(found, side)| (found - side).abs() < 1e-3),
            "{found:?}"
        );
    }
    assert_eq!(corners.len(), objects.len());

    let two = objects_of_v1(&system, &key, "confidence=0.25&iou=0.7&max_detections=2").await;
    let many = found["many"].as_array().unwrap();
    assert_eq!(many.len(), 2);
    many.iter().for_each(|answer| assert_same(answer, &two));
    assert_eq!(found["drawings"], json!([[810, 1080], [810, 1080]]));

    let errors = found["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{found}");
    let texts = ["there is no model 'helmets/3'", "workflows are not supported"];
    for (error, text) in errors.iter().zip(texts) {
        assert_eq!(error[0], 404, "{error}");
        assert!(error[1].as_str().unwrap().starts_with(text), "{error}");
    }
}
