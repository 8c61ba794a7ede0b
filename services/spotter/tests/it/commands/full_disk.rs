//! `spotter up` on a full disk, and on one that is too small.

use std::fs;

use client::{Client, ClientError, State, Submission, Timeouts};
use domain::TaskId;
use reqwest::StatusCode;
use testkit::{NatsServer, Process, ProcessBuilder, SmallDisk, eventually, picture};
use tokio::time::timeout;

use crate::harness::{Ended, TIMEOUT};

/// A little more than the smallest streams need.
const ROOMY: u64 = 720 << 20;

/// `spotter up` with its data on the disk, and settings that keep the streams small.
fn up(disk: &SmallDisk, env_file: &std::path::Path) -> ProcessBuilder {
    fs::write(env_file, "RESPONSE_CACHE_SECONDS=0\nCONCURRENCY=1\n").unwrap();
    let up = disk.process(env!("CARGO_BIN_EXE_spotter"));
    let up = up.args(["up", "--port", "0", "--data-dir"]).arg(disk.path().join("data"));
    up.arg("--env-file").arg(env_file)
}

/// With streams of the smallest sizes that hold the test's jobs.
fn small(up: ProcessBuilder) -> ProcessBuilder {
    up.env("QUEUE_MAX_BYTES", "4194304").env("DRAWINGS_MAX_BYTES", "1048576")
}

#[allow(clippy::print_stderr, reason = "a test that is left out says so")]
fn mounted(bytes: u64) -> Option<SmallDisk> {
    let disk = SmallDisk::mount(bytes);
    if disk.is_none() {
        eprintln!("SKIPPED: this user may not mount a small disk");
    }
    disk
}

struct UpOnSmallDisk {
    process: Process,
    base: String,
    client: Client,
    http: reqwest::Client,
}

impl UpOnSmallDisk {
    fn wait(process: Process) -> Self {
        let line = process.wait_for_line(|line| line.text.starts_with("  API "), TIMEOUT).text;
        let base = line.trim_start_matches("  API").trim().to_owned();
        process.wait_for_line(|line| line.text.starts_with("Ctrl-C"), TIMEOUT);
        Self::at(process, base)
    }

    fn at(process: Process, base: String) -> Self {
        let client = Client::new(&base, Timeouts::default()).unwrap();
        Self { process, base, client, http: testkit::http_client(TIMEOUT) }
    }

    async fn submit(&self) -> Result<TaskId, ClientError> {
        self.submit_bytes(fs::read(picture("bus.jpg")).unwrap()).await
    }

    async fn submit_bytes(&self, bytes: Vec<u8>) -> Result<TaskId, ClientError> {
        Ok(self.client.submit(&Submission::new("bus.jpg", bytes)).await?.task_id)
    }

    async fn readiness(&self) -> (StatusCode, String) {
        let answer = self.http.get(format!("{}/health/ready", self.base)).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    async fn assert_detected(&self, id: TaskId) {
        let task = timeout(TIMEOUT, self.client.await_terminal(id)).await.unwrap().unwrap();
        assert_eq!(task.state, State::Success, "{task:?}");
    }
}

#[tokio::test]
async fn it_recovers_from_a_full_disk_and_loses_no_accepted_job() {
    let Some(disk) = mounted(ROOMY) else { return };
    let folder = tempfile::tempdir().unwrap();
    let env_file = folder.path().join("settings.env");
    let process = small(up(&disk, &env_file)).start();
    let mut up = UpOnSmallDisk::wait(process);

    // More than are finished before the disk is full.
    let mut accepted = Vec::new();
    for _ in 0..6 {
        accepted.push(up.submit().await.unwrap());
    }
    disk.fill();
    // Jobs that fit into the last pages of the files are still accepted.
    let mut refused = None;
    while refused.is_none() && accepted.len() < 100 {
        match up.submit().await {
            Ok(id) => accepted.push(id),
            Err(error) => refused = Some(error),
        }
    }
    assert!(matches!(refused, Some(ClientError::Busy { .. })), "{refused:?}");
    let obstacle = eventually(TIMEOUT, async || {
        let (status, said) = up.readiness().await;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(said)
    })
    .await;
    assert!(obstacle.contains("does not store"), "{obstacle}");
    // Uploads are refused unread: an invalid picture gets no 400.
    let unread = up.submit_bytes(b"no picture".to_vec()).await;
    let is_busy = matches!(unread, Err(ClientError::Busy { retry_after: Some(_), .. }));
    assert!(is_busy, "{unread:?}");
    up.process.wait_for_line(|line| line.text.contains("NATS cannot write"), TIMEOUT);

    disk.make_room();
    up.process.wait_for_line(|line| line.text.contains("NATS could not write"), TIMEOUT);
    let id = eventually(TIMEOUT, async || up.submit().await.ok()).await;
    accepted.push(id);
    for id in &accepted {
        up.assert_detected(*id).await;
    }
    assert_eq!(up.readiness().await.0, StatusCode::OK);
    up.process.signal("INT");
    assert_eq!(up.process.wait_exit(TIMEOUT).code(), Some(0));
}

#[tokio::test]
async fn started_on_a_full_disk_it_waits_for_room() {
    let Some(disk) = mounted(ROOMY) else { return };
    let folder = tempfile::tempdir().unwrap();
    let env_file = folder.path().join("settings.env");
    let start = || small(up(&disk, &env_file)).start();
    let mut first = UpOnSmallDisk::wait(start());
    let earlier = first.submit().await.unwrap();
    first.assert_detected(earlier).await;
    first.process.signal("INT");
    assert_eq!(first.process.wait_exit(TIMEOUT).code(), Some(0));

    disk.fill();
    let mut second = UpOnSmallDisk::wait(start());
    second.assert_detected(earlier).await;
    let refused = second.submit().await;
    assert!(matches!(refused, Err(ClientError::Busy { .. })), "{refused:?}");
    disk.make_room();
    let id = eventually(TIMEOUT, async || second.submit().await.ok()).await;
    second.assert_detected(id).await;
    second.process.signal("INT");
    assert_eq!(second.process.wait_exit(TIMEOUT).code(), Some(0));
}

#[test]
fn a_disk_that_is_too_small_is_reported_with_the_variable() {
    let Some(disk) = mounted(32 << 20) else { return };
    let folder = tempfile::tempdir().unwrap();
    let ended = Ended::of(up(&disk, &folder.path().join("settings.env")));
    assert_eq!(ended.code, Some(69), "{ended:?}");
    let said = ended.stderr.join("\n");
    for part in ["QUEUE_MAX_BYTES", "--data-dir", "3.67 GiB", "MiB free"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn a_log_on_a_full_disk_fails_no_request() {
    let nats = NatsServer::start();
    // Every write to it fails, as on a full disk.
    let api = Process::builder("sh")
        .args(["-c", "exec \"$0\" api 2>/dev/full", env!("CARGO_BIN_EXE_spotter")])
        .env("NATS_URL", nats.url())
        .env("PORT", "0")
        .env("RUST_LOG", "debug")
        .start();
    let line = api.wait_for_line(|line| line.text.starts_with("listening on "), TIMEOUT).text;
    let base = line.trim_start_matches("listening on ").to_owned();
    let up = UpOnSmallDisk::at(api, base);
    up.submit().await.unwrap();
    assert_eq!(up.readiness().await.0, StatusCode::OK);
}
