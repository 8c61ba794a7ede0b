//! Batches, by real workers.

use std::fs;

use reqwest::multipart::{Form, Part};
use serde_json::Value;
use testkit::{Output, Process, eventually, picture};

use crate::harness::{System, TIMEOUT, spotter};

const PICTURES: [&str; 3] = ["bus.jpg", "zidane.jpg", "coffee.png"];

fn form() -> Form {
    PICTURES.into_iter().fold(Form::new(), |form, name| {
        let file = fs::read(picture(name)).unwrap();
        form.part("file", Part::bytes(file).file_name(name))
    })
}

async fn get(system: &System, path: &str) -> Value {
    let answer = system.http.get(format!("{}{path}", system.base)).send().await.unwrap();
    answer.json().await.unwrap()
}

async fn lines(system: &System, batch_id: &str) -> Vec<Value> {
    let url = format!("{}/v1/batches/{batch_id}/results", system.base);
    let text = system.http.get(url).send().await.unwrap().text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_batch_is_run_and_its_results_are_in_order() {
    let system = System::start();
    let _worker = system.worker_with(&[("CONCURRENCY", "2")]);
    let request = system.http.post(format!("{}/v1/batches", system.base)).multipart(form());
    let answer = request.header("prefer", "wait=60").send().await.unwrap();
    let batch: Value = answer.json().await.unwrap();
    assert_eq!(batch["counts"]["succeeded"], 3, "{batch}");
    let lines = lines(&system, batch["batch_id"].as_str().unwrap()).await;
    let found = lines.iter().map(|line| {
        let label = &line["objects"][0]["label"];
        (line["name"].as_str().unwrap(), label.as_str().unwrap())
    });
    let expected = [("bus.jpg", "bus"), ("zidane.jpg", "person"), ("coffee.png", "cup")];
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

/// An API that crashes when it has stored the second job of the three.
fn dying_api(system: &System) -> (Process, String) {
    let api = spotter(["api"])
        .env("PORT", "0")
        .env("NATS_URL", system.nats.url())
        .env("REDIS_URL", system.redis.url())
        .env("FAILPOINTS", "api-before-answer=crash@2")
        .start();
    let line = api.wait_for_line(|line| line.output == Output::Stdout, TIMEOUT).text;
    let base = line.strip_prefix("listening on ").unwrap().to_owned();
    (api, base)
}

#[tokio::test]
async fn an_api_that_dies_while_it_receives_a_batch_loses_nothing() {
    let system = System::start();
    let (_dying, base) = dying_api(&system);
    let request = system.http.post(format!("{base}/v1/batches")).multipart(form());
    let outcome = request.header("idempotency-key", "dying").send().await;
    assert!(outcome.is_err(), "it has died: {outcome:?}");

    let list = get(&system, "/v1/tasks").await;
    let batch_id = list["tasks"][0]["batch"]["batch_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/batches/{batch_id}");
    assert_eq!(get(&system, &path).await["state"], "RECEIVING", "its lease has not ended");
    let broken = eventually(TIMEOUT, async || {
        let batch = get(&system, &path).await;
        (batch["state"] == "RUNNING").then_some(batch)
    })
    .await;
    let queued = system.nats.stream("JOBS").unwrap().messages;
    let accepted = broken["counts"]["pending"].as_u64().unwrap();
    assert_eq!(accepted, queued, "each stored job is accepted: {broken}");
    assert!((2..=3).contains(&accepted), "{broken}");
    assert!(broken["interruption"].as_str().unwrap().contains("the API stopped"), "{broken}");

    let _worker = system.worker();
    let request = system.http.post(format!("{}/v1/batches", system.base)).multipart(form());
    let request = request.header("idempotency-key", "dying").header("prefer", "wait=60");
    let batch: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(batch["batch_id"], batch_id);
    assert_eq!(
        (&batch["received"], &batch["counts"]["succeeded"]),
        (&3.into(), &3.into()),
        "{batch}"
    );
    let lines = lines(&system, &batch_id).await;
    assert!(lines.iter().all(|line| line["attempts"] == 1), "none was run twice: {lines:?}");
}
