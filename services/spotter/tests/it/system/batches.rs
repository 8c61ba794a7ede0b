//! Batches, by real workers.

use std::fs;

use domain::BatchId;
use messaging::{Messaging, MessagingConfig, Role};
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

/// Another API, with these failpoints.
fn another_api(system: &System, failpoints: &str) -> (Process, String) {
    let api = spotter(["api"])
        .env("PORT", "0")
        .env("NATS_URL", system.nats.url())
        .env("REDIS_URL", system.redis.url())
        .env("FAILPOINTS", failpoints)
        .start();
    let line = api.wait_for_line(|line| line.output == Output::Stdout, TIMEOUT).text;
    let base = line.strip_prefix("listening on ").unwrap().to_owned();
    (api, base)
}

#[tokio::test]
async fn an_api_that_dies_while_it_receives_a_batch_loses_nothing() {
    let system = System::start();
    // It crashes when it has stored the second job of the three.
    let (_dying, base) = another_api(&system, "api-before-answer=crash@2");
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
    assert_eq!(batch["batch_id"], batch_id, "{batch}");
    assert_eq!(
        (&batch["received"], &batch["counts"]["succeeded"]),
        (&3.into(), &3.into()),
        "{batch}"
    );
    let lines = lines(&system, &batch_id).await;
    assert!(lines.iter().all(|line| line["attempts"] == 1), "none was run twice: {lines:?}");
}

/// A form, and how much of it a client sends whose connection breaks in the second picture.
fn form_and_its_beginning() -> (Vec<u8>, usize) {
    let mut body = Vec::new();
    let mut ends = Vec::new();
    for name in PICTURES {
        let head = format!(
            "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n"
        );
        let file = fs::read(picture(name)).unwrap();
        body.extend([head.as_bytes(), &file, b"\r\n"].concat());
        ends.push(body.len());
    }
    body.extend(b"--b--\r\n");
    (body, ends[1])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_record_changes_before_it_is_continued_is_continued() {
    let system = System::start();
    let (api, base) = another_api(&system, "api-before-reopen=linger");
    let submit = |base: &str, body: Vec<u8>| {
        let request = system.http.post(format!("{base}/v1/batches")).body(body);
        let request = request.header("content-type", "multipart/form-data; boundary=b");
        let request = request.header("idempotency-key", "changing");
        async move { request.send().await.unwrap().json::<Value>().await.unwrap() }
    };
    let (form, beginning) = form_and_its_beginning();
    let broken = submit(&system.base, form[..beginning].to_vec()).await;
    let id = broken["batch"]["batch_id"].as_str().unwrap().parse::<BatchId>().unwrap();
    let continued = tokio::spawn(submit(&base, form));
    api.wait_for_line(|line| line.text.contains("api-before-reopen"), TIMEOUT);
    // As another API does that stores the end of what was received.
    let config = MessagingConfig::new(system.nats.url().parse().unwrap(), Role::Cli);
    let batches = Messaging::connect(config).await.unwrap().batches();
    let (record, revision) = batches.get(id).await.unwrap().unwrap();
    assert!(batches.update(&record, revision).await.unwrap().is_some());
    let batch = continued.await.unwrap();
    assert_eq!(
        (&batch["batch_id"], &batch["received"]),
        (&id.to_string().into(), &3.into()),
        "{batch}"
    );
}

#[tokio::test]
async fn a_batch_that_is_continued_while_its_end_is_reported_ends_again() {
    // The API takes its time between the stored end of a batch and its report.
    let settings = [("RESPONSE_CACHE_SECONDS", "0"), ("FAILPOINTS", "api-before-report=linger")];
    let system = System::start_with(&settings);
    let _worker = system.worker();
    // It does not end batches: the other one was there before, and holds the lease.
    let (_other, base) = another_api(&system, "");
    let submit = async |body: Vec<u8>| -> Value {
        let request = system.http.post(format!("{base}/v1/batches")).body(body);
        let request = request.header("content-type", "multipart/form-data; boundary=b");
        let answer = request.header("idempotency-key", "again").send().await.unwrap();
        answer.json().await.unwrap()
    };
    let (form, beginning) = form_and_its_beginning();
    let broken = submit(form[..beginning].to_vec()).await;
    let path = broken["batch"]["links"]["self"].as_str().unwrap().to_owned();
    let finished = async |succeeded: u64| {
        eventually(TIMEOUT, async || {
            let answer = system.http.get(format!("{base}{path}")).send().await.unwrap();
            let batch: Value = answer.json().await.unwrap();
            let is_finished = batch["state"] == "FINISHED";
            (is_finished && batch["counts"]["succeeded"] == succeeded).then_some(())
        })
        .await;
    };
    finished(1).await;
    let batch = submit(form).await;
    assert_eq!((&batch["links"]["self"], &batch["received"]), (&path.clone().into(), &3.into()));
    finished(3).await;
}
