//! `spotter-api healthcheck`, as a container engine runs it.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use testkit::{Process, free_address, free_port};

use crate::app::{PATIENCE, TestApp};

/// What `spotter-api ARGUMENT` ends with, for an API on this port.
async fn exit_code(argument: impl AsRef<OsStr>, port: u16) -> Option<i32> {
    exit_code_with(argument, ("PORT", &port.to_string())).await
}

async fn exit_code_with(argument: impl AsRef<OsStr>, (name, value): (&str, &str)) -> Option<i32> {
    let mut process =
        Process::builder(env!("CARGO_BIN_EXE_spotter-api")).arg(argument).env(name, value).start();
    tokio::task::spawn_blocking(move || process.wait_exit(PATIENCE).code()).await.unwrap()
}

#[tokio::test]
async fn it_tells_an_api_that_is_ready_from_one_that_is_not() {
    let mut app = TestApp::start().await;
    let port = app.url("").rsplit_once(':').unwrap().1.parse().unwrap();
    assert_eq!(exit_code("healthcheck", port).await, Some(0));
    app.nats.kill();
    testkit::eventually(PATIENCE, async || {
        (exit_code("healthcheck", port).await == Some(1)).then_some(())
    })
    .await;
    assert_eq!(exit_code("healthcheck", free_port()).await, Some(1), "nobody is there");
    assert_eq!(exit_code("helthcheck", port).await, Some(64));
    let no_text = OsStr::from_bytes(b"health\xff");
    assert_eq!(exit_code(no_text, port).await, Some(64));
}

#[tokio::test]
async fn it_asks_where_machines_are_to_ask() {
    let (probes, nobody) = (free_address(), free_address());
    let _app = TestApp::start_with(&[("PROBES_ADDRESS", &probes)]).await;
    assert_eq!(exit_code_with("healthcheck", ("PROBES_ADDRESS", &probes)).await, Some(0));
    assert_eq!(exit_code_with("healthcheck", ("PROBES_ADDRESS", &nobody)).await, Some(1));
}
