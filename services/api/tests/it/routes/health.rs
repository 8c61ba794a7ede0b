//! `spotter-api healthcheck`, as a container engine runs it.

use std::{ffi::OsStr, net::TcpListener, os::unix::ffi::OsStrExt};

use testkit::{NatsServer, Process, free_address, free_port};

use crate::app::{TEST_TIMEOUT, TestApp};

/// The exit code of `spotter-api ARGUMENT`, for an API on this port.
async fn exit_code(argument: impl AsRef<OsStr>, port: u16) -> Option<i32> {
    exit_code_with(argument, &[("PORT", &port.to_string())]).await
}

async fn exit_code_with(argument: impl AsRef<OsStr>, variables: &[(&str, &str)]) -> Option<i32> {
    let mut check = Process::builder(env!("CARGO_BIN_EXE_spotter-api")).arg(argument);
    for (name, value) in variables {
        check = check.env(name, value);
    }
    let mut process = check.start();
    tokio::task::spawn_blocking(move || process.wait_exit(TEST_TIMEOUT).code()).await.unwrap()
}

#[tokio::test]
async fn healthcheck_distinguishes_a_ready_api_from_one_that_is_not() {
    let mut app = TestApp::start().await;
    let port = app.url("").rsplit_once(':').unwrap().1.parse().unwrap();
    assert_eq!(exit_code("healthcheck", port).await, Some(0));
    app.nats.kill();
    testkit::eventually(TEST_TIMEOUT, async || {
        (exit_code("healthcheck", port).await == Some(1)).then_some(())
    })
    .await;
    assert_eq!(exit_code("healthcheck", free_port()).await, Some(1), "nobody is there");
    assert_eq!(exit_code("helthcheck", port).await, Some(64));
    let no_text = OsStr::from_bytes(b"health\xff");
    assert_eq!(exit_code(no_text, port).await, Some(64));
}

#[tokio::test]
async fn healthcheck_uses_the_address_of_the_probes() {
    let (probes, nobody) = (free_address(), free_address());
    let _app = TestApp::start_with(&[("PROBES_ADDRESS", &probes)]).await;
    assert_eq!(exit_code_with("healthcheck", &[("PROBES_ADDRESS", &probes)]).await, Some(0));
    assert_eq!(exit_code_with("healthcheck", &[("PROBES_ADDRESS", &nobody)]).await, Some(1));
}

#[tokio::test]
async fn an_ipv6_address_may_be_written_with_brackets_and_without() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED: this machine has no IPv6");
        return;
    }
    let nats = NatsServer::start();
    for host in ["[::1]", "::1"] {
        let probes = format!("[::1]:{}", free_port());
        let api = Process::builder(env!("CARGO_BIN_EXE_spotter-api"))
            .env("HOST", host)
            .env("PORT", "0")
            .env("PROBES_ADDRESS", &probes)
            .env("LOG_FORMAT", "json")
            .env("NATS_URL", nats.url())
            .start();
        let line = api.wait_for_line(|line| line.text.contains("API listening"), TEST_TIMEOUT);
        let address = line.json().unwrap()["address"].as_str().unwrap().to_owned();
        let port = address.strip_prefix("[::1]:").unwrap_or_else(|| panic!("{host}: {address}"));
        let home = testkit::http_client(TEST_TIMEOUT)
            .get(format!("http://{address}/"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(home.contains(&format!("http://[::1]:{port}/start_task")), "{home}");
        let here = [("HOST", host), ("PORT", port)];
        assert_eq!(exit_code_with("healthcheck", &here).await, Some(0), "{host}");
        let there = [("PROBES_ADDRESS", probes.as_str())];
        assert_eq!(exit_code_with("healthcheck", &there).await, Some(0), "{host}");
    }
    let wrong = [("HOST", "[::1]:5000"), ("NATS_URL", &nats.url())];
    assert_eq!(exit_code_with("healthcheck", &wrong).await, Some(64), "a port is no host's");
}
