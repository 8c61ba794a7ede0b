//! Several workers on one queue; one of them killed; the cache killed.

use std::{
    fs,
    time::{Duration, Instant},
};

use messaging::{Messaging, MessagingConfig, Role};
use serde_json::Value;
use testkit::{eventually, picture};

use crate::{
    reference::{assert_bus, assert_zidane},
    whole::{PATIENCE, System},
};

#[tokio::test]
async fn two_workers_share_two_hundred_pictures() {
    const PICTURES: usize = 200;
    let system = System::start();
    let _workers = [system.worker(), system.worker()];
    let pictures = ["bus.jpg", "zidane.jpg"].map(|name| (name, fs::read(picture(name)).unwrap()));
    let mut tasks = Vec::new();
    for (name, bytes) in pictures.iter().cycle().take(PICTURES) {
        tasks.push((*name, system.start_task(name, bytes.clone()).await));
    }
    for (name, id) in &tasks {
        while system.task(id, 20).await["finished_at"].is_null() {}
        let result = system.result(id).await;
        assert_eq!(
            (result["status"].as_str(), result["image_name"].as_str()),
            (Some("SUCCESS"), Some(*name))
        );
        match *name {
            "bus.jpg" => assert_bus(&result["result"]),
            _ => assert_zidane(&result["result"]),
        }
    }
    let config = MessagingConfig::new(system.nats.url(), Role::Cli);
    let queue = Messaging::connect(config).await.unwrap().queue();
    eventually(PATIENCE, async || {
        let depth = queue.depth().await.unwrap();
        (depth.waiting == 0 && depth.in_progress == 0).then_some(())
    })
    .await;
}

/// A picture that takes a while to decode: the job is sure to be in progress when it is looked at.
fn slow_picture() -> Vec<u8> {
    let (width, height) = (8000_u32, 7900_u32);
    let row = |y: u32| (0..width).flat_map(move |x| [(x >> 6) as u8, (y >> 6) as u8, 100]);
    let pixels: Vec<u8> = (0..height).flat_map(row).collect();
    let picture = detector::decode::Picture::from_rgb(width, height, pixels).unwrap();
    detector::annotate::encode(&picture, domain::picture::PictureFormat::Png).unwrap()
}

#[tokio::test]
async fn a_worker_killed_in_mid_job_loses_nothing() {
    let bytes = slow_picture();
    let system = System::start();
    let mut doomed = system.worker();
    let id = system.start_task("slow.png", bytes).await;
    eventually(PATIENCE, async || {
        let state = system.task(&id, 0).await["state"].clone();
        assert_ne!(state, "SUCCESS", "the job was over before its worker could be killed");
        (state == "STARTED").then_some(())
    })
    .await;
    doomed.kill9();
    let killed = Instant::now();
    assert_eq!(system.task(&id, 0).await["state"], "STARTED", "it was in the middle of the job");

    let _heir = system.worker();
    while system.task(&id, 20).await["finished_at"].is_null() {}
    let took = killed.elapsed();
    let task = system.task(&id, 0).await;
    assert_eq!(task["state"], "SUCCESS", "{task}");
    // The queue's own promise, `ack_wait` and a little, and no measure of this machine's speed.
    assert!(took < Duration::from_secs(35), "it took {took:?}");
    eprintln!("finished by the other worker {took:.1?} after the kill");
}

#[tokio::test]
async fn redis_killed_while_results_are_read_changes_no_answer() {
    let mut system = System::start();
    let _worker = system.worker();
    let bytes = fs::read(picture("bus.jpg")).unwrap();
    let mut finished: Vec<(String, Value)> = Vec::new();
    for _ in 0..5 {
        let id = system.start_task("bus.jpg", bytes.clone()).await;
        while system.task(&id, 20).await["finished_at"].is_null() {}
        let result = system.result(&id).await;
        assert_bus(&result["result"]);
        finished.push((id, result));
    }
    for round in 0..60 {
        match round {
            20 => system.redis.kill(),
            40 => system.redis.restart(),
            _ => {}
        }
        // `result` fails on anything but 200.
        for (id, expected) in &finished {
            assert_eq!(&system.result(id).await, expected, "round {round}");
        }
    }
}
