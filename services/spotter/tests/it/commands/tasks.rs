//! `spotter tasks` and `spotter cancel`.

use std::fs;

use domain::TaskId;
use serde_json::Value;
use testkit::picture;
use tokio::task::spawn_blocking;

use crate::harness::{Ended, System, spotter};

async fn run(system: &System, command: &[&str]) -> Ended {
    let command = spotter(command).args(["--api", &system.base]);
    spawn_blocking(move || Ended::of(command)).await.unwrap()
}

#[tokio::test]
async fn tasks_are_listed_by_state_and_cancelled() {
    let system = System::start();
    let none = run(&system, &["tasks"]).await;
    assert_eq!((none.code, none.stdout.len()), (Some(0), 0), "{none:?}");
    let bytes = fs::read(picture("bus.jpg")).unwrap();
    let mut ids = Vec::new();
    for name in ["a.jpg", "b.jpg", "\u{1b}[2Jc.jpg"] {
        ids.push(system.start_task(name, bytes.clone()).await.to_string());
    }

    let cancelled = run(&system, &["cancel", &ids[0], &ids[1]]).await;
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    assert_eq!(cancelled.stdout, [&ids[0], &ids[1]].map(|id| format!("{id} is cancelled")));
    let again = run(&system, &["cancel", &ids[0], &ids[2]]).await;
    assert_eq!((again.code, again.stdout.len()), (Some(1), 1), "{again:?}");
    assert!(again.stderr[0].contains("has ended"), "{again:?}");

    let listed = run(&system, &["tasks", "--json", "--state", "REVOKED", "--limit", "2"]).await;
    let tasks: Vec<Value> =
        listed.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<_> = tasks.iter().map(|task| task["task_id"].as_str().unwrap()).collect();
    assert_eq!(found, [&ids[2], &ids[1]], "the newest first: {listed:?}");
    assert!(listed.stderr[0].contains("more than these 2"), "{listed:?}");
    let table = run(&system, &["tasks"]).await;
    assert_eq!(table.stdout.len(), 4, "{table:?}");
    assert!(table.stdout[0].starts_with("ID ") && table.stdout[3].contains("REVOKED"), "{table:?}");
    assert!(table.stdout.iter().all(|line| !line.contains('\u{1b}')), "{table:?}");
    for filter in [
        &["--state", "queued,success"][..],
        &["--model", "another"],
        &["--submitted-before", "2020-01-01T00:00:00+02:00"],
        &["--metadata", "camera=north"],
    ] {
        let none = run(&system, &[&["tasks"], filter].concat()).await;
        assert_eq!((none.code, none.stdout.len()), (Some(0), 0), "{filter:?} {none:?}");
    }
}

#[tokio::test]
async fn what_the_api_refuses_is_said_in_its_words() {
    let system = System::start();
    let refused = run(&system, &["tasks", "--metadata", "=x"]).await;
    assert_eq!(refused.code, Some(64), "{refused:?}");
    assert!(refused.stderr[0].contains("metadata must be key or key=value"), "{refused:?}");
    let unknown = run(&system, &["cancel", &TaskId::generate().to_string()]).await;
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr[0].contains("there is no task"), "{unknown:?}");
}
