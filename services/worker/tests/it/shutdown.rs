//! Stopping loses nothing.

use std::time::Duration;

use domain::TaskState;

use crate::fixture::{Queue, bus};

#[tokio::test]
async fn a_stopped_worker_leaves_the_rest_to_the_next() {
    const JOBS: usize = 20;
    // Longer than the timeout of the test: a job that is not released is not redelivered in time.
    const ACK_WAIT: Duration = Duration::from_secs(600);
    let settings = [("CONCURRENCY", "1"), ("ACK_WAIT_SECONDS", "600")];
    let queue = Queue::start_with(|config| config.ack_wait = ACK_WAIT).await;
    let mut ids = Vec::new();
    for _ in 0..JOBS {
        ids.push(queue.submit(bus()).await);
    }
    // All are there when it begins, or a slow submitter would leave it nothing to be stopped in.
    let first = queue.worker(&settings).await;
    queue.ended(ids[0]).await;
    first.stop().await.unwrap();
    let last = queue.messaging.tasks().find(ids[JOBS - 1]).await.unwrap().unwrap();
    assert!(!last.state.is_terminal(), "the worker was stopped in mid-run: {last:?}");

    let _second = queue.worker(&settings).await;
    for id in ids {
        let record = queue.ended(id).await;
        assert!(matches!(record.state, TaskState::Success { .. }), "{record:?}");
        assert_eq!(record.attempts, 1, "no job ran twice because of the stop");
    }
    queue.drained().await;
}

#[tokio::test]
async fn an_idle_worker_stops_at_once() {
    let queue = Queue::start().await;
    queue.worker(&[]).await.stop().await.unwrap();
}

#[tokio::test]
async fn a_worker_without_its_model_does_not_start() {
    let queue = Queue::start().await;
    let models = std::env::temp_dir().join("no-models-here");
    let variables = [("NATS_URL", queue.nats.url()), ("MODELS_DIR", models.display().to_string())];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let config = worker::Config::read(&std::collections::HashMap::from(variables)).unwrap();
    let error = worker::run(config, Default::default(), || ()).await.unwrap_err();
    assert!(matches!(error, worker::WorkerError::Model(_)), "{error}");
    assert_eq!(error.exit_code(), service::lifecycle::exit::USAGE);
}
