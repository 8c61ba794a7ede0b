//! Tasks with `annotated`: the drawing is there with the result, and shows what was detected.

use std::fs;

use client::State;
use detector::{annotate::annotate, decode::decode};
use domain::{
    ClassId, DetectedObject, Detection, TaskId, TaskState,
    picture::{PictureFormat, PictureLimits, inspect},
};
use messaging::{Messaging, MessagingConfig, Role};
use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use serde_json::Value;
use testkit::{NatsServer, eventually, picture};
use time::OffsetDateTime;

use crate::harness::{System, TIMEOUT};

async fn submit(system: &System, query: &str) -> TaskId {
    let file = Part::bytes(fs::read(picture("bus.jpg")).unwrap()).file_name("bus.jpg");
    let request = system.http.post(format!("{}/v1/tasks{query}", system.base));
    let answer = request.multipart(Form::new().part("file", file)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let task: Value = answer.json().await.unwrap();
    task["task_id"].as_str().unwrap().parse().unwrap()
}

async fn image(system: &System, id: TaskId) -> (StatusCode, Vec<u8>) {
    let answer = system.http.get(format!("{}/v1/tasks/{id}/image", system.base)).send().await;
    let answer = answer.unwrap();
    (answer.status(), answer.bytes().await.unwrap().to_vec())
}

fn pieces(nats: &NatsServer) -> u64 {
    nats.stream("DRAWINGS").map_or(0, |stream| stream.messages)
}

#[tokio::test]
async fn a_finished_task_has_its_drawing() {
    let system = System::start();
    let _worker = system.worker();
    let limits = PictureLimits::default();
    let bus = decode(&fs::read(picture("bus.jpg")).unwrap(), &limits).unwrap();
    for (asked, format) in
        [("true", PictureFormat::Jpeg), ("png", PictureFormat::Png), ("webp", PictureFormat::WebP)]
    {
        let id = submit(&system, &format!("?annotated={asked}")).await;
        let task = system.terminal(id).await;
        assert_eq!((task.state, task.objects.len()), (State::Success, 6));
        assert!(task.warnings.is_empty(), "{:?}", task.warnings);
        // At once: the drawing is stored before the result.
        let (status, file) = image(&system, id).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(inspect(&file, &limits).unwrap().format, format);
        eprintln!("{asked}: {} bytes", file.len());

        let objects: Vec<DetectedObject> = task
            .objects
            .iter()
            .map(|found| DetectedObject {
                detection: Detection {
                    bbox: found.bbox,
                    class_id: ClassId(found.class_id),
                    confidence: found.confidence,
                },
                label: found.label.clone(),
            })
            .collect();
        let mut expected = bus.clone();
        annotate(&mut expected, &objects);
        let drawn = decode(&file, &limits).unwrap();
        assert_ne!(drawn.rgb(), bus.rgb());
        let differing =
            drawn.rgb().iter().zip(expected.rgb()).filter(|(a, b)| {
                a.abs_diff(**b) > if format == PictureFormat::Jpeg { 40 } else { 0 }
            });
        let (differing, all) = (differing.count(), expected.rgb().len());
        assert!(differing < all / 1000, "{asked}: {differing} of {all}");
    }
    let plain = submit(&system, "").await;
    let before = pieces(&system.nats);
    assert_eq!(system.terminal(plain).await.state, State::Success);
    assert_eq!(
        (image(&system, plain).await.0, pieces(&system.nats)),
        (StatusCode::NOT_FOUND, before)
    );
}

#[tokio::test]
async fn a_drawing_without_room_is_a_warning() {
    let settings = [("DRAWINGS_MAX_BYTES", "1048576"), ("RESPONSE_CACHE_SECONDS", "0")];
    let system = System::start_with(&settings);
    let worker = system.worker_with(&settings[..1]);
    let id = submit(&system, "?annotated=png").await;
    let task = system.terminal(id).await;
    assert_eq!((task.state, task.objects.len()), (State::Success, 6));
    let [warning] = &task.warnings[..] else { panic!("{:?}", task.warnings) };
    assert!(warning.contains("DRAWINGS_MAX_BYTES"), "{warning}");
    assert_eq!(image(&system, id).await.0, StatusCode::NOT_FOUND);
    eventually(TIMEOUT, async || (pieces(&system.nats) == 0).then_some(())).await;
    // The store has room for others.
    let id = submit(&system, "?annotated=jpeg").await;
    assert!(system.terminal(id).await.warnings.is_empty());
    assert_eq!(image(&system, id).await.0, StatusCode::OK);
    drop(worker);
}

#[tokio::test]
async fn a_run_whose_result_does_not_count_leaves_no_drawing() {
    let system = System::start();
    let id = submit(&system, "?annotated=true").await;
    // Another worker's result is stored first, and its job is still in the queue.
    let config = MessagingConfig::new(system.nats.url().parse().unwrap(), Role::Worker);
    let other = Messaging::connect(config).await.unwrap().tasks();
    let record = other.find(id).await.unwrap().unwrap();
    let expired = TaskState::Expired { finished_at: OffsetDateTime::now_utc() };
    other.finish(&record.with_state(expired)).await.unwrap();

    let worker = system.worker();
    let has_run = |text: &str| text.contains("detected") && text.contains(&id.to_string());
    worker.wait_for_line(|line| has_run(&line.text), TIMEOUT);
    eventually(TIMEOUT, async || (pieces(&system.nats) == 0).then_some(())).await;
    let (status, _) = image(&system, id).await;
    assert_eq!(status, StatusCode::CONFLICT);
}
