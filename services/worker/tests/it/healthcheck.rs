//! `spotter-worker healthcheck`, as a container engine runs it.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use testkit::{Process, free_address};

use crate::fixture::{Queue, TIMEOUT};

/// What `spotter-worker healthcheck` ends with, for a worker that answers probes there.
async fn exit_code(probes: &str) -> Option<i32> {
    exit_code_of("healthcheck", probes).await
}

async fn exit_code_of(argument: impl AsRef<OsStr>, probes: &str) -> Option<i32> {
    let mut process = Process::builder(env!("CARGO_BIN_EXE_spotter-worker"))
        .arg(argument)
        .env("PROBES_ADDRESS", probes)
        .start();
    tokio::task::spawn_blocking(move || process.wait_exit(TIMEOUT).code()).await.unwrap()
}

#[tokio::test]
async fn it_tells_a_worker_that_is_ready_from_one_that_is_not() {
    let address = free_address();
    assert_eq!(exit_code(&address).await, Some(1), "no worker is there");
    let queue = Queue::start().await;
    let worker = queue.worker(&[("PROBES_ADDRESS", &address)]).await;
    assert_eq!(exit_code(&address).await, Some(0));
    drop(worker);
    assert_eq!(exit_code("").await, Some(64), "it serves no probes");
    let no_text = OsStr::from_bytes(b"health\xff");
    assert_eq!(exit_code_of(no_text, "").await, Some(64), "there is no such command");
}
