//! A worker's heartbeats report the models that it serves, and its results name their versions.

use domain::{ModelName, TaskState};
use messaging::HeartbeatEvent;
use tokio::sync::mpsc;

use crate::fixture::{Queue, bus};

#[tokio::test]
async fn a_workers_model_is_known_from_its_start_to_its_end() {
    let queue = Queue::start().await;
    let (events, mut received) = mpsc::unbounded_channel();
    let heartbeats = queue.messaging.heartbeats();
    let listening = tokio::spawn(async move {
        // The worker serves all models that are installed.
        let listener = |event: HeartbeatEvent| {
            if event.model == ModelName::default() {
                let _ = events.send(event);
            }
        };
        heartbeats.follow(listener).await
    });
    let worker = queue.worker(&[]).await;
    let started = received.recv().await.unwrap();
    let id = queue.submit(bus()).await;
    let record = queue.ended(id).await;
    let TaskState::Success { model_digest, cached, .. } = &record.state else {
        panic!("{record:?}")
    };
    assert!(model_digest.is_some() && !cached, "{record:?}");
    let report = started.report.clone().expect("it serves the model");
    assert_eq!(*model_digest, Some(report.model_digest));
    assert_eq!(report.in_memory, Some(true));

    worker.stop().await.unwrap();
    let mut last = started.clone();
    // The heartbeat is renewed every few seconds.
    while last.report.is_some() {
        last = received.recv().await.unwrap();
        assert_eq!(last.worker, started.worker);
    }
    listening.abort();
}
