//! Several pictures in one run of the model.

use std::fs;

use domain::{DetectionSettings, FailureReason, Job, TaskState};
use testkit::free_address;

use crate::{
    fixture::{Queue, bus, job},
    probes::ask,
};

const BUS: [&str; 6] = ["bus", "person", "person", "person", "person", "stop sign"];
const ZIDANE: [&str; 3] = ["person", "person", "tie"];

fn zidane() -> Vec<u8> {
    fs::read(testkit::picture("zidane.jpg")).unwrap()
}

fn labels(state: &TaskState) -> Vec<&str> {
    let TaskState::Success { objects, .. } = state else { panic!("{state:?}") };
    objects.iter().map(|object| object.label.as_str()).collect()
}

/// How many runs there were, and how many pictures in all of them.
async fn runs_and_pictures(address: &str) -> (u64, u64) {
    let metrics = ask(address, "/metrics").await;
    let value = |name: &str| -> u64 {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    (value("spotter_batch_size_count"), value("spotter_batch_size_sum"))
}

#[tokio::test]
async fn pictures_of_one_size_run_together_and_each_gets_its_own_result() {
    const EACH: usize = 6;
    let queue = Queue::start().await;
    let strict = DetectionSettings { confidence: 0.5.try_into().unwrap(), ..Default::default() };
    let mut tasks = Vec::new();
    for _ in 0..EACH {
        tasks.push((queue.submit(bus()).await, &BUS[..]));
        let few = queue.submit_job(Job { settings: strict.clone(), ..job() }, bus()).await;
        tasks.push((few, &BUS[..4]));
        tasks.push((queue.submit(zidane()).await, &ZIDANE[..]));
    }
    let broken = queue.submit(bus()[..20_000].to_vec()).await;
    let address = free_address();
    let settings = [
        ("MAX_BATCH", "4"),
        ("CONCURRENCY", "1"),
        ("THREADS_PER_PICTURE", "1"),
        ("PROBES_ADDRESS", address.as_str()),
    ];
    let _worker = queue.worker(&settings).await;
    for (id, expected) in tasks {
        let state = queue.ended(id).await.state;
        assert_eq!(labels(&state), expected);
    }
    let failed = queue.ended(broken).await.state;
    let undecodable = FailureReason::UndecodablePicture;
    assert!(matches!(failed, TaskState::Failure { reason, .. } if reason == undecodable));
    let (runs, pictures) = runs_and_pictures(&address).await;
    // A job that runs alone on the worker is not batched.
    assert!(pictures >= 3 * EACH as u64 - 1, "{pictures} pictures");
    assert!(runs < pictures, "{runs} runs of {pictures} pictures");
}

/// After a change of model the queue still holds jobs for the previous one. Both models take tensors of one size.
#[tokio::test]
async fn jobs_of_two_models_run_side_by_side_and_each_gets_the_result_of_its_own() {
    const EACH: usize = 6;
    let queue = Queue::start().await;
    let mut tasks = Vec::new();
    for _ in 0..EACH {
        tasks.push((queue.submit(bus()).await, 6));
        let previous = Job { model: "yolo11n".parse().unwrap(), ..job() };
        tasks.push((queue.submit_job(previous, bus()).await, 5));
    }
    let address = free_address();
    let settings = [
        ("MAX_BATCH", "8"),
        ("CONCURRENCY", "1"),
        ("THREADS_PER_PICTURE", "1"),
        ("PROBES_ADDRESS", address.as_str()),
    ];
    let _worker = queue.worker(&settings).await;
    for (id, objects) in tasks {
        let record = queue.ended(id).await;
        let state = &record.state;
        assert_eq!(labels(state).len(), objects, "{}: {state:?}", record.job.model);
        assert_eq!(record.attempts, 1, "{}", record.job.model);
    }
    queue.drained().await;
    let metrics = ask(&address, "/metrics").await;
    let requeued = metrics.lines().find(|line| line.contains("outcome=\"handed_back\"")).unwrap();
    assert!(requeued.ends_with(" 0"), "{requeued}");
}
