//! ONNX Runtime reports nothing to its vendor.

use std::fs;

use testkit::{NatsServer, Process, eventually, free_address, workspace_root};
use tokio::net::TcpStream;

use crate::{fixture::TIMEOUT, probes::ask};

/// It would write an id of the machine and a database of events, and send these.
#[tokio::test]
async fn onnx_runtime_records_nothing_of_a_worker() {
    let (nats, home) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let address = free_address();
    let worker = Process::builder(env!("CARGO_BIN_EXE_spotter-worker"))
        .env("NATS_URL", nats.url())
        .env("PROBES_ADDRESS", &address)
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .current_dir(workspace_root());
    let _worker = worker.start();
    eventually(TIMEOUT, async || TcpStream::connect(&address).await.ok()).await;
    eventually(TIMEOUT, async || {
        let answer = ask(&address, "/health/startup").await;
        answer.starts_with("HTTP/1.1 200 ").then_some(())
    })
    .await;
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
