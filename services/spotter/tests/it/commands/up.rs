//! `spotter up`: everything on one machine.

use std::{
    collections::BTreeSet, ffi::OsStr, fs, net::TcpListener, os::unix::ffi::OsStrExt,
    process::Command,
};

use client::{Client, Timeouts};
use domain::TaskId;
use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use serde_json::Value;
use testkit::{eventually, picture};

use crate::{
    harness::{Ended, TIMEOUT, spotter},
    reference::assert_bus,
    running_up::{Up, up, with_settings},
};

/// The process ids and command lines of the children of `parent`.
fn descendants(parent: u32) -> Vec<String> {
    let listed =
        Command::new("ps").args(["-o", "pid=,args=", "--ppid", &parent.to_string()]).output();
    let text = String::from_utf8(listed.expect("ps can be run").stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Whether the process of this line still runs. A zombie is still in /proc.
fn is_running(line: &str) -> bool {
    let pid = line.split_whitespace().next().unwrap();
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // `PID (NAME) STATE …`; a name may contain brackets.
    let state = stat.rsplit_once(") ").unwrap().1.chars().next();
    !matches!(state, Some('Z' | 'X'))
}

#[tokio::test]
async fn it_listens_on_an_ipv6_address_as_urls_write_it() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED: this machine has no IPv6");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let process = with_settings(data.path(), 0, "HOST=[::1]\n").start();
    let up = Up::of(process, data);
    assert!(up.base.starts_with("http://[::1]:"), "{}", up.base);
    let ready = testkit::http_client(TIMEOUT)
        .get(format!("{}/health/ready", up.base))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), StatusCode::OK);
    assert_eq!(up.stop(), Some(0));
}

#[tokio::test]
async fn it_starts_everything_detects_and_stops_everything() {
    let up = Up::start(0);
    let children = descendants(up.process.id());
    assert_eq!(children.len(), 4, "NATS, Redis, API and one worker: {children:#?}");
    assert!(up.base.starts_with("http://127.0.0.1:"), "{}", up.base);

    let http = testkit::http_client(TIMEOUT);
    let bytes = std::fs::read(picture("bus.jpg")).unwrap();
    let form = Form::new().part("file", Part::bytes(bytes).file_name("bus.jpg"));
    let answer = http.post(format!("{}/start_task", up.base)).multipart(form).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let accepted: Value = answer.json().await.unwrap();
    let id: TaskId = accepted["task_id"].as_str().unwrap().parse().unwrap();
    let client = Client::new(&up.base, Timeouts::default()).unwrap();
    client.await_terminal(id).await.unwrap();
    let url = format!("{}/task_result/{id}", up.base);
    let result: Value = http.get(url).send().await.unwrap().json().await.unwrap();
    assert_bus(&result["result"]);

    assert_eq!(up.stop(), Some(0));
    let left: Vec<_> = children.iter().filter(|line| is_running(line)).collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[cfg(target_os = "linux")]
#[test]
fn only_the_sleeps_of_nats_may_take_longer() {
    let own = fs::read_to_string("/proc/self/timerslack_ns").unwrap();
    let up = Up::start(0);
    for child in descendants(up.process.id()) {
        let pid = child.split_whitespace().next().unwrap();
        let slack = match fs::read_to_string(format!("/proc/{pid}/timerslack_ns")) {
            Ok(slack) => slack,
            Err(error) => {
                eprintln!("SKIPPED: another process's timer slack cannot be read: {error}");
                return;
            }
        };
        let expected = if child.contains("nats-server") { "1000000" } else { own.trim() };
        assert_eq!(slack.trim(), expected, "{child}");
    }
    assert_eq!(up.stop(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn services_have_a_thread_for_two_cores_unless_they_are_told_otherwise() {
    let half = std::thread::available_parallelism().unwrap().get().div_ceil(2);
    for (settings, expected) in [("", half), ("TOKIO_WORKER_THREADS=3\n", 3)] {
        let data = tempfile::tempdir().unwrap();
        let process = with_settings(data.path(), 0, settings).start();
        let up = Up::of(process, data);
        let children = descendants(up.process.id());
        let services = children.iter().filter(|line| !line.contains("-server"));
        for service in services {
            let pid = service.split_whitespace().next().unwrap();
            let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
            let expected = format!("TOKIO_WORKER_THREADS={expected}");
            assert!(environment.split('\0').any(|variable| variable == expected), "{service}");
        }
        assert_eq!(up.stop(), Some(0));
    }
}

#[tokio::test]
async fn pictures_are_submitted_to_it() {
    let up = Up::start(0);
    let submit = spotter(["submit", "--json", "--api", &up.base]);
    let ended =
        Ended::of(submit.arg(picture("bus.jpg")).arg("absent.jpg").arg(picture("coffee.png")));
    assert_eq!(ended.code, Some(1), "one of three failed: {ended:?}");
    let results: Vec<Value> =
        ended.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_bus(&results[0]["objects"]);
    assert!(results[1]["error"].is_string(), "{results:?}");
    assert_eq!(results[2]["objects"][0]["name"], "cup", "{results:?}");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_taken_port_is_skipped_and_reported() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let up = Up::start(port);
    assert!(!up.base.ends_with(&format!(":{port}")), "{}", up.base);
    let said = format!("port {port} is in use");
    up.process.wait_for_line(|line| line.text.contains(&said), TIMEOUT);
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn several_started_at_once_do_not_collide() {
    const TOGETHER: usize = 4;
    let started: Vec<_> = (0..TOGETHER)
        .map(|_| {
            let data = tempfile::tempdir().unwrap();
            (up(data.path(), 0).args(["--concurrency", "1"]).start(), data)
        })
        .collect();
    let ups: Vec<_> = started.into_iter().map(|(process, data)| Up::of(process, data)).collect();
    for server in ["NATS", "Redis"] {
        let start = format!("  {server} on port ");
        let lines = ups
            .iter()
            .map(|up| up.process.wait_for_line(|line| line.text.starts_with(&start), TIMEOUT).text);
        let port = |line: String| line[start.len()..].split(',').next().unwrap().to_owned();
        let ports: BTreeSet<_> = lines.map(port).collect();
        assert_eq!(ports.len(), TOGETHER, "each has a server of its own: {ports:?}");
    }
    for up in ups {
        assert_eq!(up.stop(), Some(0));
    }
}

#[test]
fn port_0_is_not_reported_as_taken() {
    let up = Up::start(0);
    let lines = up.process.lines();
    assert!(!lines.iter().any(|line| line.text.contains("is in use")), "{lines:?}");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn a_data_folder_in_use_is_refused() {
    let first = Up::start(0);
    let second = Ended::of(up(first.data.path(), 0));
    assert_eq!(second.code, Some(64), "{second:?}");
    assert!(second.stderr.join("\n").contains("another `spotter up`"), "{second:?}");
    assert_eq!(first.stop(), Some(0));
}

#[test]
fn errors_are_reported_before_anything_starts() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cases = [
        ("a missing model", up(data.path(), 0).args(["--model", "nosuch"]), "nosuch"),
        ("bad settings", up(data.path(), 0).env("WORKERS", "many"), "WORKERS"),
        (
            "bad settings behind empty variables",
            with_settings(other.path(), 0, "WORKERS=many\n").env("WORKERS", ""),
            "WORKERS",
        ),
        ("an absent file", spotter(["up", "--env-file", "absent.env"]), "absent.env"),
        ("a bad filter", up(data.path(), 0).env("RUST_LOG", "a=b=c"), "RUST_LOG"),
        ("a foreign address", up(data.path(), 0).args(["--host", "192.0.2.1"]), "192.0.2.1"),
    ];
    for (what, command, named) in cases {
        let ended = Ended::of(command);
        assert_eq!(ended.code, Some(64), "{what}: {ended:?}");
        assert!(ended.stderr.join("\n").contains(named), "{what}: {ended:?}");
    }
}

#[test]
fn a_file_of_settings_is_read_as_any_editor_saves_it_or_rejected_with_the_reason() {
    let data = tempfile::tempdir().unwrap();
    let utf_16 = |text: &str, of: fn(u16) -> [u8; 2]| -> Vec<u8> {
        text.encode_utf16().flat_map(of).collect()
    };
    let text = "PORT=7000\nWORKERS=many\n";
    let marked = format!("\u{feff}{text}");
    let cases = [
        // Each is parsed: the invalid number is reported, and nothing else.
        ("a byte order mark", marked.clone().into_bytes(), "\n  WORKERS: "),
        ("CRLF", text.replace('\n', "\r\n").into_bytes(), "\n  WORKERS: "),
        ("both", marked.replace('\n', "\r\n").into_bytes(), "\n  WORKERS: "),
        ("two files in one", format!("{marked}{marked}").into_bytes(), "\n  WORKERS: "),
        ("UTF-16, as Windows writes it", utf_16(&marked, u16::to_le_bytes), "UTF-16"),
        ("UTF-16, the other way round", utf_16(&marked, u16::to_be_bytes), "UTF-16"),
        ("UTF-16 without a mark", utf_16(text, u16::to_le_bytes), "UTF-16"),
        ("Latin-1", b"PORT=7000\nREDIS_URL=redis://:\xfc@host\n".to_vec(), "line 2"),
    ];
    for (what, bytes, said) in cases {
        let ended = Ended::of(with_settings(data.path(), 0, bytes));
        assert_eq!(ended.code, Some(64), "{what}: {ended:?}");
        assert!(ended.stderr.join("\n").contains(said), "{what}: {ended:?}");
        let read = said.contains("WORKERS");
        assert!(!read || ended.stderr[0].contains("1 bad setting:"), "{what}: {ended:?}");
        assert!(read || ended.stderr[0].contains("settings.env"), "{what}: {ended:?}");
    }
}

#[test]
fn a_variable_that_is_not_utf_8_is_a_bad_setting_and_not_left_out() {
    let data = tempfile::tempdir().unwrap();
    let invalid = OsStr::from_bytes(b"4\xff");
    // The file does not count: the environment takes precedence.
    let up = with_settings(data.path(), 0, "WORKERS=1\n").env("WORKERS", invalid);
    for (name, command) in [
        ("WORKERS", up),
        ("PORT", spotter(["api"]).env("PORT", invalid)),
        ("NATS_URL", spotter(["worker"]).env("NATS_URL", invalid)),
        ("MODELS_DIR", spotter(["worker"]).env("MODELS_DIR", invalid)),
        ("RUST_LOG", spotter(["setup"]).env("RUST_LOG", invalid)),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            spotter(["api"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", invalid),
        ),
        ("NATS_CREDENTIALS_FILE", spotter(["dlq", "list"]).env("NATS_CREDENTIALS_FILE", invalid)),
    ] {
        let ended = Ended::of(command);
        assert_eq!(ended.code, Some(64), "{name}: {ended:?}");
        let said = ended.stderr.join("\n");
        assert!(said.contains(name) && said.contains("UTF-8"), "{name}: {ended:?}");
    }
}

#[tokio::test]
async fn after_a_kill_nothing_runs() {
    let mut up = Up::start(0);
    let children = descendants(up.process.id());
    up.process.kill9();
    eventually(TIMEOUT, async || (!children.iter().any(|line| is_running(line))).then_some(()))
        .await;
}
