//! Hugging Face's own client gets the objects that `/v1` gives.

use serde_json::{Value, json};

use super::client_package::{detect_with, key, objects_of_v1};
use crate::harness::System;

/// The objects of `/v1` as that client returns them.
fn as_returned(objects: &[Value]) -> Value {
    let one = |object: &Value| {
        let side = |name: &str| object["bbox"][name].as_f64().unwrap() as u64;
        let (xmin, ymin, xmax, ymax) = (side("x1"), side("y1"), side("x2"), side("y2"));
        json!({
            "score": object["confidence"],
            "label": object["label"],
            "box": { "xmin": xmin, "ymin": ymin, "xmax": xmax, "ymax": ymax },
        })
    };
    objects.iter().map(one).collect()
}

#[tokio::test]
async fn the_package_returns_the_objects_of_v1() {
    let system = System::start_with(&[("AUTH", "keys"), ("RESPONSE_CACHE_SECONDS", "0")]);
    let _worker = system.worker();
    let key = key(&system);
    let found = match detect_with("detect-with-huggingface", &system, &key) {
        Ok(found) => found,
        Err(skipped) => return eprintln!("SKIPPED: {skipped}"),
    };
    let half = objects_of_v1(&system, &key, "confidence=0.5").await;
    assert!(half.len() >= 3, "{half:?}");
    assert_eq!(found["of_path"], as_returned(&half));
    let quarter = objects_of_v1(&system, &key, "confidence=0.25").await;
    assert!(quarter.len() > half.len(), "{quarter:?}");
    assert_eq!(found["of_bytes"], as_returned(&quarter));
    let error = found["error"].as_str().unwrap();
    assert!(error.contains("Bad request") && error.contains("picture"), "{error}");
}
