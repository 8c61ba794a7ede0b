//! The testkit against the servers it starts.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and print")]

mod proxy;
mod waiting;

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::TcpStream,
    os::unix::process::ExitStatusExt,
    time::Duration,
};

use testkit::{NatsServer, Output, Process, RedisServer, eventually, free_port};

const LONG: Duration = Duration::from_secs(20);

/// How long to watch for something that must not happen.
const A_WHILE: Duration = Duration::from_millis(300);

/// The first line a NATS server says to a client, by the port in `url`.
fn nats_greeting(url: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(url.trim_start_matches("nats://"))?;
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting)?;
    Ok(String::from_utf8_lossy(&greeting).into_owned())
}

fn redis_ping(url: &str) -> std::io::Result<String> {
    redis_ping_within(LONG, url)
}

fn redis_ping_within(timeout: Duration, url: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(url.trim_start_matches("redis://"))?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_nats_server_comes_back_on_its_port() {
    let mut server = NatsServer::start();
    let url = server.url();
    assert_eq!(nats_greeting(&url).unwrap(), "INFO ");
    server.kill();
    assert!(nats_greeting(&url).is_err());
    server.restart();
    assert_eq!(server.url(), url);
    assert_eq!(nats_greeting(&url).unwrap(), "INFO ");
}

#[test]
fn two_servers_do_not_share_a_port() {
    let (one, two) = (NatsServer::start(), NatsServer::builder().max_payload(2048).start());
    assert_ne!(one.url(), two.url());
    assert_ne!(one.monitor_url(), two.monitor_url());
}

#[test]
fn a_redis_server_can_be_killed_paused_and_restarted() {
    let mut server = RedisServer::start();
    let url = server.url();
    assert_eq!(redis_ping(&url).unwrap(), "+PONG");
    server.pause();
    assert!(redis_ping_within(A_WHILE, &url).is_err());
    server.resume();
    assert_eq!(redis_ping(&url).unwrap(), "+PONG");
    server.kill();
    assert!(redis_ping(&url).is_err());
    server.restart();
    assert_eq!(redis_ping(&url).unwrap(), "+PONG");
}

#[test]
fn lines_of_both_streams_can_be_awaited() {
    let script = r#"echo '{"ready":true}'; echo "$GREETING from $HOST$PORT$CARGO" >&2; sleep 60"#;
    let mut process = Process::builder("sh").args(["-c", script]).env("GREETING", "hello").start();
    let line = process.wait_for_line(|line| line.json().is_some(), LONG);
    assert_eq!(
        (line.output, line.json().unwrap()["ready"].as_bool()),
        (Output::Stdout, Some(true))
    );
    // The test's own environment (CARGO is set in it) does not leak into the process.
    let line = process.wait_for_line(|line| line.output == Output::Stderr, LONG);
    assert_eq!(line.text, "hello from");
    process.terminate();
    assert_eq!(process.wait_exit(LONG).signal(), Some(15));
}

/// Set in the copy of this test binary that takes ports beside this one.
const TAKES_PORTS: &str = "TESTKIT_TAKES_PORTS";

#[test]
fn a_port_is_reserved_for_one_test() {
    // Enough that without reservations two of them would almost certainly be equal.
    let ports: Vec<u16> = (0..300).map(|_| free_port()).collect();
    if std::env::var_os(TAKES_PORTS).is_some() {
        // On one core, the test runner has begun a line with the name of the test.
        println!("\n{{\"ports\":{ports:?}}}");
        std::thread::park();
    }
    let neighbour = Process::builder(std::env::current_exe().unwrap())
        .args(["--exact", "a_port_is_reserved_for_one_test", "--nocapture"])
        .env(TAKES_PORTS, "1")
        .start();
    let line = neighbour.wait_for_line(|line| line.text.starts_with("{\"ports\""), LONG);
    let others = line.json().unwrap()["ports"].as_array().unwrap().clone();
    let others = others.iter().map(|port| port.as_u64().unwrap());
    let all: HashSet<u64> = others.chain(ports.into_iter().map(u64::from)).collect();
    assert_eq!(all.len(), 600);
}

#[test]
fn a_stopped_process_does_nothing() {
    let script = "while :; do :; done";
    let mut process = Process::builder("sh").args(["-c", script]).start();
    for _ in 0..20 {
        process.stop();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
        assert!(stat.contains(") T "), "{stat}");
        process.cont();
    }
}

/// Set in the copy of this test binary that is to be killed.
const TO_BE_KILLED: &str = "TESTKIT_TO_BE_KILLED";

#[test]
fn a_killed_test_leaves_no_child_behind() {
    if std::env::var_os(TO_BE_KILLED).is_some() {
        let child = Process::builder("sh").args(["-c", "echo up; exec sleep 600"]).start();
        child.wait_for_line(|line| line.text == "up", LONG);
        println!("\n{{\"child\":{}}}", child.id());
        std::thread::park();
    }
    let mut test = Process::builder(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_test_leaves_no_child_behind", "--nocapture"])
        .env(TO_BE_KILLED, "1")
        .start();
    let line = test.wait_for_line(|line| line.text.starts_with("{\"child\""), LONG);
    let child = line.json().unwrap()["child"].as_u64().unwrap();
    test.kill9();
    let status = format!("/proc/{child}/status");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(eventually(LONG, || async {
        // Without a parent to reap it, it may stay as a zombie.
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        (text.is_empty() || text.contains("State:\tZ")).then_some(())
    }));
}

#[test]
fn children_outlive_the_thread_that_started_them() {
    let mut process =
        std::thread::spawn(|| Process::builder("sh").args(["-c", "echo up; read line"]).start())
            .join()
            .unwrap();
    process.wait_for_line(|line| line.text == "up", LONG);
    // `read` ends at once, standard input being empty: so the exit is its own, not a signal's.
    assert_eq!(process.wait_exit(LONG).signal(), None);
}

#[test]
fn a_panicking_predicate_does_not_hide_the_output() {
    let process = Process::builder("sh").args(["-c", "echo one; exec sleep 60"]).start();
    let fails = || process.wait_for_line(|line| panic!("this is {}", line.text), LONG);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(fails)).is_err());
    let lines = process.lines();
    assert_eq!((lines.len(), lines[0].output), (1, Output::Stdout));
}
