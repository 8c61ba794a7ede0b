//! A camera whose frames are sent every few seconds.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;
use testkit::{HttpServer, Output, eventually, http_answer, picture};

use super::{
    page::{CAMERA, blocks},
    shell::{Shell, program},
};
use crate::harness::{Ended, System, TIMEOUT, spotter};

/// A camera that has no picture at first.
fn camera() -> HttpServer {
    let asked = AtomicUsize::new(0);
    let bus = fs::read(picture("bus.jpg")).unwrap();
    HttpServer::start(move |_| {
        Some(match asked.fetch_add(1, Ordering::Relaxed) {
            0 => http_answer("503 Service Unavailable", "", b""),
            _ => http_answer("200 OK", "content-type: image/jpeg\r\n", &bus),
        })
    })
}

/// Of a time as the API writes it.
fn second_of_day(time: &Value) -> f64 {
    let (_, clock) = time.as_str().unwrap().trim_end_matches('Z').split_once('T').unwrap();
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

/// With the pauses of a test.
fn shell(system: &System) -> Shell {
    Shell::new(&system.base).showing(" 5 door", " 0.1 door")
}

#[tokio::test]
async fn frames_are_sent_one_after_another() {
    let system = System::start_with(&[("AUTH", "keys"), ("RESPONSE_CACHE_SECONDS", "0")]);
    let _worker = system.worker();
    let create = spotter(["key", "create", "--name", "door", "--nats-url", &system.nats.url()]);
    let key = Ended::of(create).stdout.concat();
    let camera = camera();
    let shell =
        shell(&system).with("SPOTTER_API_KEY", &key).showing("http://192.0.2.20", &camera.origin());
    let [send, read] = blocks(CAMERA, "bash");
    // `exec`: the script takes the place of the shell, so it ends with the test.
    let mut script = shell.start(&format!("exec {send}"));
    let printed = || fs::read_to_string(shell.path("door.ndjson")).unwrap_or_default();
    // On a slow machine some frames are not finished in time.
    let succeeded = |line: &&str| line.contains(r#""state":"SUCCESS""#);
    let several = async || (printed().lines().filter(succeeded).count() >= 3).then_some(());
    eventually(TIMEOUT, several).await;
    script.terminate();
    assert_eq!(script.wait_exit(TIMEOUT).code(), Some(130));

    let told = script.lines();
    assert!(told.iter().any(|line| line.text.ends_with("gave no frame")), "{told:?}");
    let tasks: Vec<Value> =
        printed().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for task in &tasks {
        assert_eq!(
            (&task["picture_name"], &task["metadata"]["camera"]),
            (&"door.jpg".into(), &"door".into())
        );
        if task["state"] == "SUCCESS" {
            assert_eq!(task["objects"].as_array().unwrap().len(), 6);
        } else {
            assert_ne!(task["state"], "FAILURE", "{task}");
        }
        let seconds = second_of_day(&task["deadline"]) - second_of_day(&task["submitted_at"]);
        assert!((seconds.rem_euclid(86_400.0) - 10.0).abs() < 0.01, "{task}");
    }
    let listed = system.http.get(format!("{}/v1/tasks?metadata=camera=door", system.base));
    let listed: Value = listed.bearer_auth(&key).send().await.unwrap().json().await.unwrap();
    let run = listed["tasks"].as_array().unwrap().len();
    assert!((tasks.len()..=tasks.len() + 1).contains(&run), "each frame is one task: {listed}");

    if program("jq").is_some() {
        let found = shell.run(&read);
        let buses = found.lines().filter(|line| line.contains(r#""found":["bus","person""#));
        assert!(buses.count() >= 3, "{found}");
        assert_eq!(found.lines().count(), tasks.len());
    }
}

#[tokio::test]
async fn ffmpeg_takes_the_frames_of_everything_else() {
    if program("ffmpeg").is_none() {
        return;
    }
    let system = System::start();
    let _worker = system.worker();
    let shell = shell(&system);
    let mut script = shell.start("exec docs/recipes/camera.sh test_images/coffee.png 5 door");
    let line = script.wait_for_line(|line| line.output == Output::Stdout, TIMEOUT);
    let task = line.json().unwrap();
    assert_eq!((&task["width"], &task["objects"][0]["label"]), (&600.into(), &"cup".into()));
    script.terminate();
    script.wait_exit(TIMEOUT);
}

#[tokio::test]
async fn a_frame_that_is_not_processed_is_told() {
    let camera = camera();
    let shell = Shell::new("http://127.0.0.1:9").showing("http://192.0.2.20", &camera.origin());
    let mut script =
        shell.start("exec docs/recipes/camera.sh http://192.0.2.20/snapshot.jpg 0.1 door");
    script.wait_for_line(|line| line.text.contains("was not processed"), TIMEOUT);
    script.terminate();
    assert_eq!(script.wait_exit(TIMEOUT).code(), Some(130));
}

#[test]
fn the_password_of_a_camera_is_not_logged() {
    if program("ffmpeg").is_none() {
        return;
    }
    let shell = Shell::new("http://127.0.0.1:9");
    let camera = "rtsp://admin:hunter2@127.0.0.1:9/stream1";
    let mut script = shell.start(&format!("exec docs/recipes/camera.sh {camera} 60 door"));
    script.wait_for_line(|line| line.text == "camera.sh: door gave no frame", TIMEOUT);
    script.terminate();
    script.wait_exit(TIMEOUT);
    let told = script.lines();
    assert!(told.iter().any(|line| line.text.contains("//…@127.0.0.1")), "{told:?}");
    assert!(!told.iter().any(|line| line.text.contains("hunter2")), "{told:?}");
}

#[test]
fn a_name_that_cannot_be_sent_is_refused() {
    let shell = Shell::new("http://127.0.0.1:9");
    let ended = shell.ended("docs/recipes/camera.sh test_images/coffee.png 5 'yard;door'");
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.stderr.concat().contains("got 'yard;door'"), "{ended:?}");
}
