//! A worker's health probes and metrics.

use std::sync::Arc;

use bytes::Bytes;
use domain::{Job, TaskRecord, TaskState};
use testkit::{NatsServer, SmallDisk, eventually, free_address};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::fixture::{Queue, TIMEOUT, bus, job};

pub(crate) async fn ask(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn is_ok(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 ")
}

#[tokio::test]
async fn a_worker_is_ready_while_it_has_its_queue() {
    let mut queue = Queue::start().await;
    let address = free_address();
    let _worker = queue.worker(&[("PROBES_ADDRESS", &address)]).await;
    for path in ["/health/startup", "/health/live", "/health/ready"] {
        assert!(is_ok(&ask(&address, path).await), "{path}");
    }
    let id = queue.submit(bus()).await;
    queue.ended(id).await;
    queue.drained().await;
    eventually(TIMEOUT, async || {
        let metrics = ask(&address, "/metrics").await;
        let counted = metrics.contains("spotter_jobs_total{outcome=\"stored\"");
        (counted && metrics.contains("spotter_stage_seconds_bucket{")).then_some(())
    })
    .await;

    queue.nats.kill();
    eventually(TIMEOUT, async || {
        let answer = ask(&address, "/health/ready").await;
        answer.contains("not connected to NATS").then_some(())
    })
    .await;
    assert!(is_ok(&ask(&address, "/health/live").await), "a restart would do no good");
    queue.nats.restart();
    eventually(TIMEOUT, async || is_ok(&ask(&address, "/health/ready").await).then_some(())).await;
}

#[tokio::test]
async fn probes_are_answered_while_the_worker_waits_for_its_queue() {
    let nats = free_address();
    let address = free_address();
    let variables = [("NATS_URL", format!("nats://{nats}")), ("PROBES_ADDRESS", address.clone())];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let config = worker::Config::read(&std::collections::HashMap::from(variables)).unwrap();
    let worker = tokio::spawn(worker::run(config, Default::default(), || ()));
    eventually(TIMEOUT, async || TcpStream::connect(&address).await.ok().map(drop)).await;
    assert!(is_ok(&ask(&address, "/health/live").await));
    for path in ["/health/startup", "/health/ready"] {
        let answer = ask(&address, path).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("starting"), "{answer}");
    }
    worker.abort();
}

/// How many pictures ran on `cores`.
async fn pictures(address: &str, cores: &str) -> u64 {
    let metrics = ask(address, "/metrics").await;
    let label = format!("cores=\"{cores}\"");
    let mut lines = metrics.lines();
    let line = lines.find(|l| l.starts_with("spotter_pictures_total") && l.contains(&label));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_picture_that_has_the_worker_to_itself_gets_every_core() {
    const QUEUED: usize = 6;
    let queue = Queue::start().await;
    let mut ids = Vec::new();
    for _ in 0..QUEUED {
        ids.push(queue.submit(bus()).await);
    }
    let address = free_address();
    let settings =
        [("PROBES_ADDRESS", address.as_str()), ("CONCURRENCY", "2"), ("THREADS_PER_PICTURE", "1")];
    let _worker = queue.worker(&settings).await;
    for id in ids {
        queue.ended(id).await;
    }
    queue.drained().await;
    // No job waits behind the last one. It may or may not run alone.
    let in_slots = pictures(&address, "slot").await;
    assert!(in_slots >= QUEUED as u64 - 1, "{in_slots}");
    let alone_before = pictures(&address, "all").await;
    let id = queue.submit(bus()).await;
    assert!(matches!(queue.ended(id).await.state, TaskState::Success { .. }));
    assert_eq!(pictures(&address, "all").await, alone_before + 1);
}

#[tokio::test]
async fn a_worker_whose_records_are_not_stored_is_not_ready_until_they_are() {
    let Some(disk) = SmallDisk::mount(32 << 20) else {
        eprintln!("SKIPPED: this user may not mount a small disk");
        return;
    };
    let disk = Arc::new(disk);
    let mut queue = Queue::start_on(NatsServer::builder().disk(&disk).start(), |_| ()).await;
    let address = free_address();
    let _worker = queue.worker(&[("PROBES_ADDRESS", &address)]).await;

    disk.fill();
    // A record that does not fit into the last page of its file.
    let long = Job { picture_name: "x".repeat(100_000), ..job() };
    queue.messaging.tasks().create_queued(&TaskRecord::queued(long)).await.unwrap_err();
    eventually(TIMEOUT, async || {
        let answer = ask(&address, "/health/ready").await;
        let is_told = answer.contains("KV_tasks") && answer.contains("unanswered");
        (answer.starts_with("HTTP/1.1 503 ") && is_told).then_some(())
    })
    .await;
    assert!(is_ok(&ask(&address, "/health/live").await), "a restart of it does no good");

    // The queue's stream stores again, that of the records does not.
    disk.make_room();
    let job = job();
    queue.messaging.queue().submit(&job, Bytes::from(bus())).await.unwrap();
    queue.nats.restart();
    let end = queue.ended(job.task_id).await;
    // Its first run may have ended before the server was restarted.
    assert!(matches!(end.state, TaskState::Success { .. }) && end.attempts <= 2, "{end:?}");
    queue.drained().await;
    assert!(is_ok(&ask(&address, "/health/ready").await));
    let metrics = ask(&address, "/metrics").await;
    assert!(metrics.contains("spotter_stream_writable{"), "{metrics}");
}
