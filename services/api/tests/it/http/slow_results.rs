//! Clients that ask for the results of a batch and do not read them, or read slowly.

use std::time::Duration;

use domain::{TaskId, TaskState};
use messaging::{Messaging, MessagingConfig, Role};
use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use serde_json::Value;
use testkit::eventually;
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::slow_clients::{ApiProcess, HANG_TIMEOUT};
use crate::app::{TEST_TIMEOUT, bus, bus_bytes};

/// How many pictures the batch has, and objects each of them: 6 MB of results.
const PICTURES: usize = 200;
const OBJECTS: usize = 300;
/// How many clients do not read.
const STALLED: usize = 10;
/// How much memory each of them may take: the lines that are ready, and the buffers of the connection.
const MOST_KIB_EACH: u64 = 2560;
/// How much a slow reader reads at a time, and the pause in between.
const SIP: usize = 61536;
const SIP_EVERY: Duration = Duration::from_millis(50);

/// A batch whose tasks have many objects: where its results are, and its tasks.
async fn large_batch(api: &ApiProcess) -> (String, Vec<TaskId>) {
    let form = (0..PICTURES).fold(Form::new(), |form, number| {
        form.part("file", Part::bytes(bus_bytes()).file_name(format!("{number}.jpg")))
    });
    let answer = api.client.post(api.url("/v1/batches")).multipart(form).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let batch: Value = answer.json().await.unwrap();
    let results = batch["links"]["results"].as_str().unwrap().to_owned();
    let config = MessagingConfig::new(api.nats.url().parse().unwrap(), Role::Worker);
    let tasks = Messaging::connect(config).await.unwrap().tasks();
    let mut ids = Vec::new();
    for line in lines(api, &results).await {
        let id: TaskId = line["task_id"].as_str().unwrap().parse().unwrap();
        let record = tasks.find(id).await.unwrap().unwrap();
        let state = TaskState::Success {
            started_at: None,
            finished_at: OffsetDateTime::now_utc(),
            objects: vec![bus(); OBJECTS],
            width: 810,
            height: 1080,
            warnings: Vec::new(),
            run: None,
            model_digest: None,
            drawing: None,
            cached: false,
        };
        tasks.finish(&record.with_state(state)).await.unwrap();
        ids.push(id);
    }
    (results, ids)
}

async fn lines(api: &ApiProcess, results: &str) -> Vec<Value> {
    let request = api.client.get(api.url(results)).timeout(HANG_TIMEOUT);
    let answer = request.send().await.unwrap();
    let text = answer.text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A connection on which the results have been asked for.
async fn asking(api: &ApiProcess, results: &str) -> TcpStream {
    let mut stream = api.connect().await;
    let request = format!("GET {results} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads all of a response, slowly.
async fn sip(mut stream: TcpStream) -> String {
    let (mut read, mut some) = (Vec::new(), vec![0; SIP]);
    loop {
        match stream.read(&mut some).await.unwrap() {
            0 => return String::from_utf8(read).unwrap(),
            count => read.extend_from_slice(&some[..count]),
        }
        if read.len() % SIP < some.len() / 2 {
            sleep(SIP_EVERY).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_results_hold_little_memory_and_are_disconnected() {
    let api = ApiProcess::start(&[("ANSWER_TIMEOUT_SECONDS", "5")]);
    let (results, ids) = large_batch(&api).await;
    // Whatever one reader needs, it has by now.
    let whole: usize = lines(&api, &results).await.iter().map(|line| line.to_string().len()).sum();
    let (before, files) = (api.process.peak_kib(), api.open_files());

    let mut stalled = JoinSet::new();
    for _ in 0..STALLED {
        let stream = asking(&api, &results).await;
        // Nothing is read, so only an error shows that the connection is closed.
        stalled.spawn(async move { stream.ready(Interest::ERROR).await.map(drop) });
    }
    let slow = tokio::spawn(sip(asking(&api, &results).await));
    api.send_status_requests(ids[0]).await;

    let all = timeout(HANG_TIMEOUT, stalled.join_all()).await;
    assert!(all.is_ok(), "some are still connected after {HANG_TIMEOUT:?}");
    let after = api.process.peak_kib();
    let held = (after - before) / STALLED as u64;
    eprintln!("{whole} bytes of results; {held} KiB for each client that does not read");
    assert!(held < MOST_KIB_EACH, "{before} KiB before, {after} KiB after");
    assert!(MOST_KIB_EACH as usize * 1024 < whole / 2, "this proves nothing");
    let read = slow.await.unwrap();
    assert_eq!(read.matches("\"index\":").count(), 2 * PICTURES, "a slow reader gets all");
    assert!(read.ends_with("0\r\n\r\n"), "to the end");
    eventually(TEST_TIMEOUT, async || (api.open_files() <= files + 8).then_some(())).await;
}
