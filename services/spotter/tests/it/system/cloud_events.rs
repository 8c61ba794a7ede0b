//! The end of each task is stored as an event for those who subscribe.

use std::fs;

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use testkit::{Process, eventually, picture};

use crate::harness::{System, TIMEOUT, spotter};

const ON: (&str, &str) = ("CLOUD_EVENTS", "on");

fn system() -> System {
    System::start_with(&[ON, ("RESPONSE_CACHE_SECONDS", "0")])
}

fn service(name: &str, system: &System) -> Process {
    let service = spotter([name]).env("NATS_URL", system.nats.url()).env(ON.0, ON.1).start();
    service.wait_for_line(|line| line.text == "ready", TIMEOUT);
    service
}

/// Submits bus.jpg; the id of its task.
async fn submit(system: &System) -> String {
    let picture = Part::bytes(fs::read(picture("bus.jpg")).unwrap()).file_name("bus.jpg");
    let form = Form::new().part("file", picture);
    let request = system.http.post(format!("{}/v1/tasks", system.base)).multipart(form);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    answer.json::<Value>().await.unwrap()["task_id"].as_str().unwrap().to_owned()
}

/// The headers and the data of the event with this subject.
async fn event(system: &System, subject: &str) -> (Vec<String>, Value) {
    let last = json!({ "last_by_subj": subject }).to_string();
    let stored = async || {
        let answer = system.nats.try_request("$JS.API.STREAM.MSG.GET.EVENTS", &last)?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        answer.get("message").cloned()
    };
    let message = eventually(TIMEOUT, stored).await;
    let decode = |member: &str| BASE64_STANDARD.decode(message[member].as_str().unwrap()).unwrap();
    let headers = String::from_utf8(decode("hdrs")).unwrap();
    let headers = headers.lines().map(str::to_owned).collect();
    (headers, serde_json::from_slice(&decode("data")).unwrap())
}

#[tokio::test]
async fn the_end_of_each_task_is_an_event() {
    let system = system();
    // No webhooks: the notifier needs no secret.
    let (_worker, _notifier) = (service("worker", &system), service("notifier", &system));
    let id = submit(&system).await;
    let (headers, data) = event(&system, &format!("events.task.success.{id}")).await;
    let answer = system.http.get(format!("{}/v1/tasks/{id}", system.base)).send().await.unwrap();
    let mut task: Value = answer.json().await.unwrap();
    task.as_object_mut().unwrap().remove("timings").expect("it has run");
    assert_eq!(data, task, "it is as the API shows it, but for the timings");
    let time = task["finished_at"].as_str().unwrap();
    for expected in [
        "ce-specversion: 1.0",
        &format!("ce-id: {id}"),
        "ce-source: /v1/tasks",
        "ce-type: spotter.task.success",
        &format!("ce-subject: {id}"),
        &format!("ce-time: {time}"),
        "ce-datacontenttype: application/json",
        "content-type: application/json",
    ] {
        assert!(headers.iter().any(|header| header == expected), "{expected} in {headers:?}");
    }
}

/// The event waits with the task's end until a notifier runs.
#[tokio::test]
async fn a_cancelled_task_is_an_event_once_a_notifier_runs() {
    let system = system();
    let id = submit(&system).await;
    let cancelled = system.http.delete(format!("{}/v1/tasks/{id}", system.base)).send().await;
    assert_eq!(cancelled.unwrap().status(), StatusCode::OK);
    let _notifier = service("notifier", &system);
    let (_, data) = event(&system, &format!("events.task.revoked.{id}")).await;
    assert_eq!((&data["task_id"], &data["state"]), (&json!(id), &json!("REVOKED")));
}
