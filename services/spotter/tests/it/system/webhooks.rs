//! The end of a task is reported to the URL that its client named.

use std::{
    fs,
    io::{Seek, Write},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use testkit::{HttpRequest, HttpServer, Process, eventually, http_answer, picture, workspace_root};

use crate::harness::{System, TIMEOUT, spotter};

const SECRETS: &str =
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A system whose API accepts callbacks to `receiver`.
fn system(receiver: &HttpServer) -> System {
    let settings = [("WEBHOOKS", "on"), ("WEBHOOK_ALLOW", &receiver.origin())];
    System::start_with(&settings)
}

/// A notifier that is ready; its second and third try come at once.
fn notifier(system: &System, receiver: &HttpServer) -> Process {
    let notifier = spotter(["notifier"])
        .env("NATS_URL", system.nats.url())
        .env("WEBHOOK_SECRETS", SECRETS)
        .env("WEBHOOK_ALLOW", receiver.origin())
        .env("WEBHOOK_RETRY_SECONDS", "0,0")
        .env("RUST_LOG", "trace")
        .start();
    notifier.wait_for_line(|line| line.text == "ready", TIMEOUT);
    notifier
}

/// Submits bus.jpg; the accepted task.
async fn submit(system: &System, callback_url: &str) -> Value {
    let picture = Part::bytes(fs::read(picture("bus.jpg")).unwrap()).file_name("bus.jpg");
    let form = Form::new()
        .text("callback_url", callback_url.to_owned())
        .text("metadata", "{\"camera\":\"door\"}")
        .part("file", picture);
    let request = system.http.post(format!("{}/v1/tasks", system.base)).multipart(form);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 202);
    answer.json().await.unwrap()
}

async fn first(receiver: &HttpServer, count: usize) -> Vec<HttpRequest> {
    let arrived = async || Some(receiver.requests()).filter(|requests| requests.len() >= count);
    eventually(TIMEOUT, arrived).await
}

fn body(request: &HttpRequest) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// By the reference library. Says why not, if that cannot be had.
fn verify(request: &HttpRequest) -> Option<String> {
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: Value = headers
        .map(|name| (name.to_owned(), json!(request.header(name).unwrap())))
        .into_iter()
        .collect();
    let input = json!({
        "secrets": SECRETS.split(' ').collect::<Vec<_>>(),
        "headers": headers,
        "body": String::from_utf8(request.body.clone()).unwrap(),
    });
    let mut input_file = tempfile::tempfile().unwrap();
    input_file.write_all(input.to_string().as_bytes()).unwrap();
    input_file.rewind().unwrap();
    let script = workspace_root().join("scripts/verify-webhook");
    let verified = Command::new(script).stdin(input_file).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    match verified.status.code() {
        Some(0) => None,
        Some(77) => Some(said.into_owned()),
        _ => panic!("{said}"),
    }
}

#[tokio::test]
async fn a_finished_task_is_reported_with_a_signature() {
    let receiver = HttpServer::start(|_| Some(http_answer("204 No Content", "", b"")));
    let system = system(&receiver);
    let (_worker, mut notifier) = (system.worker(), notifier(&system, &receiver));
    let task = submit(&system, &format!("{}/hook?token=x", receiver.origin())).await;
    let request = first(&receiver, 1).await.remove(0);
    assert!(request.head.starts_with("POST /hook?token=x HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("content-type"), Some("application/json"));
    let id = task["task_id"].as_str().unwrap();
    assert_eq!(request.header("webhook-id"), Some(&*format!("msg_{id}")));
    if let Some(skipped) = verify(&request) {
        eprintln!("{skipped}");
    }

    notifier.terminate();
    assert_eq!(notifier.wait_exit(TIMEOUT).code(), Some(0));
    let lines = notifier.finished_lines();
    assert!(lines.len() > 20, "only {} lines: the log level is not the most verbose", lines.len());
    for secret in SECRETS.split(' ').map(|secret| secret.trim_start_matches("whsec_")) {
        assert!(lines.iter().all(|line| !line.text.contains(secret)), "a secret was written");
    }

    let webhook = body(&request);
    assert_eq!(webhook["type"], "task.success");
    assert_eq!(webhook["timestamp"], webhook["data"]["finished_at"]);
    let answer = system.http.get(format!("{}/v1/tasks/{id}", system.base)).send().await.unwrap();
    let mut task: Value = answer.json().await.unwrap();
    assert_eq!(task["state"], "SUCCESS");
    assert!(!task["objects"].as_array().unwrap().is_empty());
    task.as_object_mut().unwrap().remove("timings").expect("it has run");
    assert_eq!(webhook["data"], task, "it is as the API shows it, but for the timings");
}

/// A worker that dies between its record and the webhook leaves the job, and the next worker publishes.
#[tokio::test]
async fn no_webhook_is_lost_when_a_worker_dies_after_its_record() {
    let receiver = HttpServer::start(|_| Some(http_answer("200 OK", "", b"")));
    let settings =
        [("WEBHOOKS", "on"), ("WEBHOOK_ALLOW", &*receiver.origin()), ("ACK_WAIT_SECONDS", "2")];
    let system = System::start_with(&settings);
    let _notifier = notifier(&system, &receiver);
    let settings = [("FAILPOINTS", "before-announce=crash"), ("ACK_WAIT_SECONDS", "2")];
    let mut dying = system.worker_with(&settings);
    let task = submit(&system, &receiver.origin()).await;
    dying.wait_exit(TIMEOUT);
    assert_eq!(receiver.requests(), [], "nothing is sent yet");
    let _worker = system.worker_with(&[("ACK_WAIT_SECONDS", "2")]);
    let request = first(&receiver, 1).await.remove(0);
    assert_eq!(body(&request)["data"]["task_id"], task["task_id"]);
}

#[tokio::test]
async fn a_cancelled_task_is_reported() {
    let receiver = HttpServer::start(|_| Some(http_answer("200 OK", "", b"")));
    let system = system(&receiver);
    let _notifier = notifier(&system, &receiver);
    let task = submit(&system, &receiver.origin()).await;
    let id = task["task_id"].as_str().unwrap();
    let cancelled = system.http.delete(format!("{}/v1/tasks/{id}", system.base)).send().await;
    assert_eq!(cancelled.unwrap().status().as_u16(), 200);
    let request = first(&receiver, 1).await.remove(0);
    assert_eq!(body(&request)["type"], "task.revoked");
}

#[tokio::test]
async fn a_webhook_is_tried_again_then_given_up_and_can_be_replayed() {
    let tries = AtomicUsize::new(0);
    let receiver = HttpServer::start(move |request| {
        let number = tries.fetch_add(1, Ordering::Relaxed);
        Some(match (request.path(), number) {
            ("/elsewhere", _) => http_answer("200 OK", "", b""),
            (_, 0) => http_answer("500 Internal Server Error", "", b""),
            (_, 1) => http_answer("302 Found", "location: /elsewhere\r\n", b""),
            (_, 2) => http_answer("410 Gone", "", b""),
            _ => http_answer("200 OK", "", b""),
        })
    });
    let system = system(&receiver);
    let (_worker, _notifier) = (system.worker(), notifier(&system, &receiver));
    let task = submit(&system, &receiver.origin()).await;
    let id = task["task_id"].as_str().unwrap();
    let tried = first(&receiver, 3).await;
    assert!(tried.iter().all(|request| request.path() == "/"), "a redirect is not followed");
    let ids: Vec<_> = tried.iter().map(|request| request.header("webhook-id").unwrap()).collect();
    assert!(ids.iter().all(|known| *known == format!("msg_{id}")), "{ids:?}");

    let webhooks = |arguments: &[&str]| {
        let mut command = spotter(["webhooks"]);
        for argument in arguments {
            command = command.arg(*argument);
        }
        let mut command = command.env("NATS_URL", system.nats.url()).start();
        command.wait_exit(TIMEOUT);
        crate::harness::Ended::after(command)
    };
    let listed = async || {
        let ended = webhooks(&["list", "--json"]);
        ended.stdout.first().map(|line| serde_json::from_str::<Value>(line).unwrap())
    };
    let given_up = eventually(TIMEOUT, listed).await;
    assert_eq!(given_up["task_id"], id);
    assert_eq!(given_up["attempts"], 3);
    assert_eq!(given_up["reason"], "its server answered with status 410");
    let shown = webhooks(&["show", id]);
    assert!(shown.stdout.join("").contains("SUCCESS"), "{shown:?}");
    let replayed = webhooks(&["replay", id]);
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    assert_eq!(first(&receiver, 4).await.len(), 4);
    assert_eq!(webhooks(&["list", "--json"]).stdout, [""; 0]);
}

/// A receiver that never answers takes its share of the requests, and no more.
#[tokio::test]
async fn a_slow_receiver_does_not_delay_others() {
    let slow = HttpServer::start(|_| None);
    let receiver = HttpServer::start(|_| Some(http_answer("200 OK", "", b"")));
    let allowed = format!("{},http://localhost:{}", slow.origin(), receiver.port());
    let system = System::start_with(&[("WEBHOOKS", "on"), ("WEBHOOK_ALLOW", &allowed)]);
    let _worker = system.worker();
    let notifier = spotter(["notifier"])
        .env("NATS_URL", system.nats.url())
        .env("WEBHOOK_SECRETS", SECRETS)
        .env("WEBHOOK_ALLOW", &allowed)
        .env("WEBHOOK_TIMEOUT_SECONDS", TIMEOUT.as_secs().to_string())
        .env("MAX_WEBHOOKS_PER_HOST", "2")
        .env("MAX_CONCURRENT_WEBHOOKS", "3")
        .start();
    notifier.wait_for_line(|line| line.text == "ready", TIMEOUT);
    for _ in 0..6 {
        submit(&system, &slow.origin()).await;
    }
    first(&slow, 2).await;
    let task = submit(&system, &format!("http://localhost:{}/", receiver.port())).await;
    let request = first(&receiver, 1).await.remove(0);
    assert_eq!(body(&request)["data"]["task_id"], task["task_id"]);
    assert_eq!(slow.requests().len(), 2);
}
