//! Two pools of workers for different models, each scaled from zero by the backlog of its own model.
//!
//! As in `autoscaling.rs`, all is real but KEDA and the HPA. The triggers are those of k8s/.

use std::{fs, iter, time::Duration};

use client::State;
use domain::TaskId;
use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use serde_json::Value;
use testkit::{
    Autoscaler, NatsServer, Recording, Replicas, ScaledObject, Trigger, eventually, picture,
    workspace_root,
};

use crate::harness::{Ended, System, TIMEOUT, spotter};

/// A second stands for a minute.
const COMPRESSION: u32 = 60;

/// The time after which a Deployment kills a worker.
const GRACE: Duration = Duration::from_secs(30);

const FIRST_POOL: &str = "k8s/base/worker-scaling.yaml";

/// What the second pool changes of the first one's ScaledObject.
const SECOND_POOL: &str = "k8s/components/worker-large/scaling.yaml";

#[tokio::test]
async fn a_backlog_starts_workers_of_its_own_pool_only() {
    let nats = NatsServer::start();
    let set_up = spotter(["setup"]).env("NATS_URL", nats.url()).env("MODELS", "yolov8n,yolo11n");
    let ended = Ended::of(set_up);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let system = System::start_on(nats, &[("RESPONSE_CACHE_SECONDS", "0")]);
    let pools = [
        ("yolo11n", scaled_by(&system, "yolo11n", &triggers(SECOND_POOL))),
        ("yolov8n", scaled_by(&system, "yolov8n", &triggers(FIRST_POOL))),
    ];

    // The second pool's model first: no worker has ever served it.
    for (model, pool) in &pools {
        let id = submitted(&system, model).await;
        let task = system.terminal(id).await;
        assert_eq!(task.state, State::Success, "{task:?}");
        assert_eq!(task.model.as_str(), *model);
        pool.wait_for(|now| now.replicas == Replicas::default(), TIMEOUT);
    }
    for (model, pool) in pools {
        assert_eq!(starts_from_zero(&pool.end()), 1, "of the pool of {model}");
    }
}

fn triggers(file: &str) -> Trigger {
    let scaled = ScaledObject::read(&workspace_root().join(file)).expect("what ships can be read");
    // The server has no accounts.
    Trigger { account: "$G".to_owned(), ..scaled.trigger }
}

/// A pool of one worker for `model`, with no worker at first.
fn scaled_by(system: &System, model: &'static str, trigger: &Trigger) -> Autoscaler {
    let first = workspace_root().join(FIRST_POOL);
    let shipped = ScaledObject::read(&first).expect("what ships can be read");
    let scaled = ScaledObject {
        max_replicas: 1,
        trigger: trigger.clone(),
        ..shipped.compressed(COMPRESSION)
    };
    let url = system.nats.url();
    let worker = move || {
        let worker = spotter(["worker"]).env("NATS_URL", &url).env("CONCURRENCY", "1");
        worker.env("MODEL", model).env("MODELS", model).start()
    };
    Autoscaler::start(&system.nats, &scaled, GRACE, worker)
}

/// Submits a picture once the API knows the model, which it learns from the queue.
async fn submitted(system: &System, model: &str) -> TaskId {
    let url = format!("{}/v1/tasks?model={model}", system.base);
    let bytes = fs::read(picture("bus.jpg")).unwrap();
    let task: Value = eventually(TIMEOUT, async || {
        let bus = Part::bytes(bytes.clone()).file_name("bus.jpg");
        let request = system.http.post(&url).multipart(Form::new().part("file", bus));
        let answer = request.send().await.expect("the API answers");
        let is_accepted = answer.status() == StatusCode::ACCEPTED;
        if is_accepted { answer.json().await.ok() } else { None }
    })
    .await;
    task["task_id"].as_str().expect("an id").parse().expect("an id")
}

/// How many times a worker was started while there was none. The first sample may already have one.
fn starts_from_zero(recording: &Recording) -> usize {
    let wanted = recording.samples.iter().map(|sample| sample.replicas.wanted);
    let wanted: Vec<u32> = iter::once(0).chain(wanted).collect();
    wanted.windows(2).filter(|pair| pair[0] == 0 && pair[1] > 0).count()
}
