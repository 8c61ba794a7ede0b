//! Shadow runs of real models: whatever becomes of them, tasks end as without them; and what the command prints.

use std::fs;

use client::State;
use domain::TaskId;
use serde_json::Value;
use testkit::{NatsServer, Process, eventually, free_address, picture};

use crate::{
    harness::{Ended, System, TIMEOUT, spotter},
    reference::assert_bus,
};

/// The settings of a worker that serves both models.
const SHADOWED: [(&str, &str); 4] = [
    ("MODELS", "yolov8n,yolo11n"),
    ("MODEL", "yolov8n"),
    ("SHADOW_MODEL", "yolo11n"),
    ("SHADOW_SHARE", "1"),
];

/// Submits bus.jpg and waits for its result, which must be that of the default model's first run.
async fn run_bus(system: &System) -> TaskId {
    let id = system.start_task("bus.jpg", fs::read(picture("bus.jpg")).unwrap()).await;
    assert_untouched(system, id).await;
    id
}

async fn assert_untouched(system: &System, id: TaskId) {
    let task = system.terminal(id).await;
    assert_eq!((&task.state, task.attempts), (&State::Success, 1), "{task:?}");
    assert_bus(&system.result(id).await["result"]);
}

/// Waits until the worker has come to the failpoint of a shadow run.
fn reached(worker: &Process) {
    worker.wait_for_line(|line| line.text.contains("worker-detect-shadow"), TIMEOUT);
}

fn compare(system: &System) -> Ended {
    let command = spotter(["model", "compare", "yolov8n", "yolo11n", "--json", "--nats-url"]);
    Ended::of(command.arg(system.nats.url()))
}

/// What the command prints once so many pictures were compared.
async fn compared(system: &System, pictures: usize) -> Value {
    eventually(TIMEOUT, async || {
        let ended = compare(system);
        let summary: Value = serde_json::from_str(ended.stdout.first()?).ok()?;
        (summary["pictures"] == pictures).then_some(summary)
    })
    .await
}

#[tokio::test]
async fn workers_and_the_command_compare_alike() {
    let system = System::start();
    let ended = compare(&system);
    assert_eq!(ended.code, Some(69), "{ended:?}");
    assert!(ended.stderr[0].contains("SHADOW_MODEL=yolo11n"), "{ended:?}");
    let _worker = system.worker_with(&SHADOWED);
    for _ in 0..3 {
        run_bus(&system).await;
    }
    let by_workers = compared(&system, 3).await;
    let bus = picture("bus.jpg");
    let command = spotter(["model", "compare", "yolov8n", "yolo11n", "--json"]);
    let ended = Ended::of(command.args([&bus, &bus, &bus]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let here: Value = serde_json::from_str(&ended.stdout[0]).unwrap();
    for field in ["pictures", "equal_pictures", "matched", "disputed", "classes", "confusions"] {
        assert_eq!(by_workers[field], here[field], "{field}");
    }
    for model in ["a", "b"] {
        for field in ["model", "digest", "only"] {
            assert_eq!(by_workers[model][field], here[model][field], "{field} of {model}");
        }
        assert!(by_workers[model]["median_ms"].as_f64().unwrap() > 0.0, "{by_workers}");
    }
    // Of the six objects of YOLOv8n, YOLO11n finds five.
    assert_eq!(
        (&here["matched"], &here["disputed"]),
        (&Value::from(15), &Value::from(3)),
        "{here}"
    );
    assert_eq!(here["classes"][0]["class"], "stop sign", "{here}");

    let table = Ended::of(spotter(["model", "compare", "yolov8n", "yolo11n"]).arg(&bus));
    assert_eq!(table.code, Some(0), "{table:?}");
    assert!(table.stdout.iter().any(|line| line.starts_with("stop sign")), "{table:?}");
}

#[tokio::test]
async fn a_shadow_run_that_hangs_holds_up_no_job() {
    let system = System::start();
    let address = free_address();
    let mut settings = SHADOWED.to_vec();
    settings.extend([
        ("JOB_DEADLINE_SECONDS", "20"),
        ("FAILPOINTS", "worker-detect-shadow=hang"),
        ("PROBES_ADDRESS", &address),
    ]);
    let worker = system.worker_with(&settings);
    run_bus(&system).await;
    reached(&worker);
    // The only slot runs them while the shadow run hangs.
    for _ in 0..5 {
        run_bus(&system).await;
    }
    worker.wait_for_line(|line| line.text.contains("makes no more shadow runs"), TIMEOUT);
    run_bus(&system).await;
    let metrics = system.http.get(format!("http://{address}/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let value = |series: &str| {
        let line = metrics.lines().find(|line| line.contains(series));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).expect(series)
    };
    assert_eq!(value("spotter_deliveries_total{redelivered=\"true\""), 0, "{metrics}");
    assert_eq!(value("spotter_shadow_runs_total{outcome=\"failed\""), 1, "{metrics}");
}

/// Workers that serve the shadow model only: what kills them takes no job along.
#[tokio::test]
async fn a_shadow_run_that_kills_its_worker_touches_no_job_and_kills_no_other() {
    let system = System::start();
    let _worker = system.worker_with(&[&[("MODELS", "yolov8n")][..], &SHADOWED[2..]].concat());
    let of_shadow_model = [("MODELS", "yolo11n"), ("SHADOW_MODEL", "yolo11n")];
    let failpoint = ("FAILPOINTS", "worker-detect-shadow=crash");
    let mut killed = system.worker_with(&[&of_shadow_model[..], &[failpoint]].concat());
    run_bus(&system).await;
    reached(&killed);
    killed.wait_exit(TIMEOUT);
    let other = system.worker_with(&of_shadow_model);
    run_bus(&system).await;
    // The picture that has killed the first worker is not delivered again.
    compared(&system, 1).await;
    drop(other);
    for _ in 0..3 {
        run_bus(&system).await;
    }
}

/// A run of the shadow model takes longer than all that comes after it.
#[tokio::test]
async fn a_slow_shadow_run_gives_way_and_is_made_again() {
    let system = System::start();
    let mut settings = SHADOWED.to_vec();
    settings.push(("FAILPOINTS", "worker-detect-shadow=linger"));
    let worker = system.worker_with(&settings);
    run_bus(&system).await;
    reached(&worker);
    for _ in 0..3 {
        run_bus(&system).await;
    }
    let summary = compared(&system, 4).await;
    assert_eq!(summary["matched"], 20, "{summary}");
}

/// The set-up has not run with `SHADOW_MODEL`.
#[tokio::test]
async fn without_what_shadow_runs_need_a_worker_works_on_its_jobs() {
    let nats = NatsServer::builder().roles().start();
    let urls = ["api", "worker", "setup"].map(|role| nats.url_as(role));
    let set_up = || spotter(["setup"]).env("NATS_URL", &urls[2]).env("MODELS", "yolov8n,yolo11n");
    assert_eq!(Ended::of(set_up()).code, Some(0));
    let system = System::start_on(nats, &[("NATS_URL", &urls[0]), ("RESPONSE_CACHE_SECONDS", "0")]);
    let mut settings = SHADOWED.to_vec();
    settings.push(("NATS_URL", &urls[1]));
    let worker = system.worker_with(&settings);
    worker.wait_for_line(|line| line.text.contains("there are no shadow runs"), TIMEOUT);
    run_bus(&system).await;
    let ended = Ended::of(set_up().env("SHADOW_MODEL", "yolo11n"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains(&"consumer shadow-yolo11n: created".to_owned()), "{ended:?}");
    // Now the worker takes what it publishes.
    run_bus(&system).await;
    eventually(TIMEOUT, async || {
        let command = spotter(["model", "compare", "yolov8n", "yolo11n", "--json", "--nats-url"]);
        let ended = Ended::of(command.arg(system.nats.url_as("operator")));
        (ended.code == Some(0)).then_some(())
    })
    .await;
}
