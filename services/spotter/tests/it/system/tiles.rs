//! Pictures in tiles: what a client is answered is what the detector finds, and a picture does not take a worker for
//! minutes.

use std::fs;

use detector::{
    annotate::encode,
    decode::{Picture, decode},
};
use domain::{
    TaskId,
    picture::{PictureFormat, PictureLimits},
};
use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use serde_json::Value;
use testkit::picture;

use crate::harness::{Ended, SMALL_MODEL_CLASSES, System, install_small_model, spotter};

/// bus.jpg eight times, in half its size: 1,920 × 1,200 pixels.
fn canvas() -> Vec<u8> {
    const WIDTH: usize = 1920;
    const HEIGHT: usize = 1200;
    let bus = decode(&fs::read(picture("bus.jpg")).unwrap(), &PictureLimits::default()).unwrap();
    let (bus_width, half) = (bus.width() as usize, |side: u32| side as usize / 2);
    let mut rgb = vec![114; 3 * WIDTH * HEIGHT];
    for (column, row) in (0..2).flat_map(|row| (0..4).map(move |column| (column, row))) {
        for (y, x) in
            (0..half(bus.height())).flat_map(|y| (0..half(bus.width())).map(move |x| (y, x)))
        {
            let from = 3 * (2 * y * bus_width + 2 * x);
            let to = 3 * ((row * 600 + 30 + y) * WIDTH + column * 480 + 35 + x);
            rgb[to..to + 3].copy_from_slice(&bus.rgb()[from..from + 3]);
        }
    }
    let canvas = Picture::from_rgb(WIDTH as u32, HEIGHT as u32, rgb).unwrap();
    encode(&canvas, PictureFormat::Png).unwrap()
}

/// The id of a task that was accepted.
async fn submit(system: &System, picture: Vec<u8>, query: &str) -> TaskId {
    let file = Part::bytes(picture).file_name("buses.png");
    let request = system.http.post(format!("{}/v1/tasks{query}", system.base));
    let answer = request.multipart(Form::new().part("file", file)).send().await.unwrap();
    let status = answer.status();
    let task: Value = answer.json().await.unwrap();
    assert_eq!(status, StatusCode::ACCEPTED, "{task}");
    task["task_id"].as_str().unwrap().parse().unwrap()
}

/// The finished task.
async fn run(system: &System, picture: Vec<u8>, query: &str) -> Value {
    let id = submit(system, picture, query).await;
    ended(system, id).await
}

async fn ended(system: &System, id: TaskId) -> Value {
    system.terminal(id).await;
    let answer = system.http.get(format!("{}/v1/tasks/{id}", system.base)).send().await.unwrap();
    answer.json().await.unwrap()
}

/// Name, confidence and box of each object.
fn rows(objects: &Value, name: &str, bbox: &str) -> Vec<(String, f64, Vec<f64>)> {
    let number = |value: &Value| value.as_f64().unwrap();
    let row = |object: &Value| {
        let sides = ["x1", "y1", "x2", "y2"].map(|side| number(&object[bbox][side])).to_vec();
        (object[name].as_str().unwrap().to_owned(), number(&object["confidence"]), sides)
    };
    objects.as_array().unwrap().iter().map(row).collect()
}

#[tokio::test]
async fn a_task_has_what_the_detector_finds_in_tiles() {
    let system = System::start();
    let _worker = system.worker();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("buses.png");
    fs::write(&path, canvas()).unwrap();
    for (query, arguments, tiles) in [
        ("?tiles=auto", &["--tiles", "auto"][..], "3x2"),
        ("?tiles=2x1&overlap=0.4", &["--tiles", "2x1", "--overlap", "0.4"], "2x1"),
    ] {
        let task = run(&system, canvas(), query).await;
        assert_eq!((&task["state"], &task["tiles"]), (&"SUCCESS".into(), &tiles.into()), "{task}");
        let ended = Ended::of(spotter(["detect", "--json"]).args(arguments).arg(&path));
        let expected: Value = serde_json::from_str(&ended.stdout[0]).unwrap();
        let found = rows(&task["objects"], "label", "bbox");
        let expected = rows(&expected["objects"], "name", "box");
        assert_eq!(found.iter().filter(|(label, ..)| label == "bus").count(), 8, "{query}");
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let off = found.2.iter().zip(&expected.2).map(|(a, b)| (a - b).abs());
            assert_eq!(found.0, expected.0);
            // Sessions of other numbers of threads round differently.
            assert!(off.fold(0.0, f64::max) < 0.05 && (found.1 - expected.1).abs() < 0.001);
        }
    }
    let without = run(&system, canvas(), "").await;
    assert_eq!(without["tiles"], Value::Null);
}

#[tokio::test]
async fn tiles_that_take_longer_than_a_job_may_are_a_failure_at_once() {
    let system = System::start();
    let slow = [
        ("FAILPOINTS", "worker-detect=linger"),
        ("JOB_DEADLINE_SECONDS", "4"),
        ("CONCURRENCY", "1"),
    ];
    let _worker = system.worker_with(&slow);
    let task = run(&system, canvas(), "?tiles=4x4").await;
    assert_eq!(task["failure"]["reason"], "too_many_tiles", "{task}");
    let message = task["failure"]["message"].as_str().unwrap();
    assert!(message.contains("the 17 runs") && message.contains("fewer tiles"), "{message}");
    assert_eq!(task["attempts"], 1);
}

/// Other jobs take the only slot between the runs for longer than a job may run. The runs themselves take a small part of
/// that, also on a slow machine.
#[tokio::test]
async fn tiles_that_wait_for_other_jobs_do_not_fail() {
    const OTHERS: usize = 20;
    const SLOW: &str = "this picture lingers";
    let models = tempfile::tempdir().unwrap();
    let labels: Vec<String> = (0..SMALL_MODEL_CLASSES).map(|class| class.to_string()).collect();
    install_small_model(models.path(), "small", "d-fine", &labels);
    let system = System::start_with(&[("RESPONSE_CACHE_SECONDS", "0"), ("MODEL", "small")]);
    let bus = fs::read(picture("bus.jpg")).unwrap();
    let slow_picture = [&bus, SLOW.as_bytes()].concat();
    submit(&system, slow_picture.clone(), "").await;
    let tiled = submit(&system, bus, "?tiles=8x8").await;
    for _ in 0..OTHERS {
        submit(&system, slow_picture.clone(), "").await;
    }
    let _worker = system.worker_with(&[
        ("FAILPOINTS", &format!("worker-detect=linger({SLOW})")),
        ("JOB_DEADLINE_SECONDS", "10"),
        ("CONCURRENCY", "1"),
        ("MODEL", "small"),
        ("MODELS_DIR", models.path().to_str().unwrap()),
    ]);
    let task = ended(&system, tiled).await;
    assert_eq!((&task["state"], &task["attempts"]), (&"SUCCESS".into(), &1.into()), "{task}");
}

#[tokio::test]
async fn many_tiles_need_no_more_memory_than_a_few() {
    /// Far below that of the inputs of the tiles of all pictures, which is 500 MiB.
    const MOST_KIB: u64 = 150 << 10;
    let system = System::start_with(&[("RESPONSE_CACHE_SECONDS", "0")]);
    let worker = system.worker();
    let canvas = canvas();
    for _ in 0..2 {
        run(&system, canvas.clone(), "?tiles=4x4").await;
    }
    let before = worker.peak_kib();
    for _ in 0..6 {
        run(&system, canvas.clone(), "?tiles=4x4").await;
    }
    let after = worker.peak_kib();
    eprintln!("{before} KiB after two pictures, {after} KiB after eight");
    assert!(after - before < MOST_KIB, "{before} KiB before, {after} KiB after");
}
