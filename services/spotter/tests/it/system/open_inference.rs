//! Clients of the Open Inference Protocol, among them that of Triton, read what `/v1` answers.

use std::{collections::HashMap, time::Duration};

use serde_json::Value;
use testkit::{Process, eventually, picture, workspace_root};

use crate::harness::{Ended, System, TIMEOUT};

/// With the first fetch of the packages. Only a run that hangs takes this long.
const LONGEST: Duration = Duration::from_secs(9 * 60);

/// `scripts/test-tritonclient` ends with it where its packages cannot be had.
const SKIPPED: i32 = 77;

/// A shell ends with it where there is no such program, such as Python.
const NO_SUCH_PROGRAM: i32 = 127;

/// Label, class, score and corners of an object, in the precision of tensors.
type Row = (String, u32, f32, f32, f32, f32, f32);

/// The objects of the picture on `/v1`.
async fn expected(system: &System, name: &str) -> Vec<Row> {
    let bytes = std::fs::read(picture(name)).unwrap();
    let id = system.start_task(name, bytes).await;
    system.terminal(id).await;
    let task = system.v1_get(&format!("/v1/tasks/{id}")).await;
    let row = |object: &Value| -> Row {
        let single = |number: &Value| number.as_f64().unwrap() as f32;
        let corner = |side| single(&object["bbox"][side]);
        let label = object["label"].as_str().unwrap().to_owned();
        let class = u32::try_from(object["class_id"].as_u64().unwrap()).unwrap();
        let score = single(&object["confidence"]);
        (label, class, score, corner("x1"), corner("y1"), corner("x2"), corner("y2"))
    };
    task["objects"].as_array().unwrap().iter().map(row).collect()
}

#[tokio::test]
async fn tritonclient_reads_the_results_of_v1() {
    let system = System::start();
    let _worker = system.worker();
    let pictures = ["bus.jpg", "zidane.jpg"];
    let expected = [expected(&system, pictures[0]).await, expected(&system, pictures[1]).await];
    let counts = expected.each_ref().map(Vec::len);
    assert!(counts.iter().all(|count| *count > 1) && counts[0] != counts[1], "{counts:?}");

    let address = system.base.strip_prefix("http://").unwrap();
    let script = workspace_root().join("scripts/test-tritonclient");
    assert!(script.is_file(), "{} is missing", script.display());
    let mut run =
        Process::builder(script).args([address, "yolov8n"]).args(pictures.map(picture)).start();
    run.wait_exit(LONGEST);
    let ended = Ended::after(run);
    match ended.code {
        Some(0) => {}
        Some(SKIPPED | NO_SUCH_PROGRAM) => return eprintln!("{}", ended.stderr.join("\n")),
        _ => panic!("{ended:#?}"),
    }
    let found: HashMap<String, Vec<Vec<Row>>> =
        serde_json::from_str(&ended.stdout.concat()).unwrap();
    for way in ["one by one", "at the same time", "together", "as JSON"] {
        assert_eq!(found[way], expected, "{way}");
    }
}

#[tokio::test]
async fn a_picture_that_was_run_before_is_not_run_again() {
    let system = System::start_with(&[("REDIS_TIMEOUT_MS", "20000")]);
    let _worker = system.worker();
    let bytes = std::fs::read(picture("bus.jpg")).unwrap();
    // The result is cached in the background.
    eventually(TIMEOUT, async || {
        let id = system.start_task("bus.jpg", bytes.clone()).await;
        system.terminal(id).await.cached.then_some(())
    })
    .await;
    for (cache_control, is_cached) in [("max-age=0", true), ("no-cache", false)] {
        let url = format!("{}/v2/models/yolov8n/infer", system.base);
        let request = system.http.post(url).header("Inference-Header-Content-Length", 0);
        let request = request.header("Cache-Control", cache_control).body(bytes.clone());
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let id = answer["parameters"]["task_ids"].as_str().unwrap().parse().unwrap();
        assert_eq!(system.task(id).await.cached, is_cached, "{cache_control}");
        assert_eq!(answer["outputs"][0]["data"][0], 6, "{answer}");
    }
}
