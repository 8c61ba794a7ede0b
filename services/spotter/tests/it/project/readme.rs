//! Runs the README's curl lines against a running system.

use std::{fs, process::Command};

use serde_json::Value;
use testkit::{HttpServer, Output, Process, eventually, http_answer, picture, workspace_root};

use crate::{
    harness::{Ended, TIMEOUT, spotter},
    running_up::{Up, up},
};

/// An API that requires keys.
struct Guarded {
    base: String,
    _api: Process,
}

/// An API that requires keys on the queue of `up`, and a key, made as the README says.
fn requiring_keys(up: &Up) -> (Guarded, String) {
    let line = up.process.wait_for_line(|line| line.text.starts_with("  NATS on port "), TIMEOUT);
    let port: u16 = line.text.split([' ', ',']).find_map(|word| word.parse().ok()).unwrap();
    let url = format!("nats://127.0.0.1:{port}");
    let created = Ended::of(spotter(["key", "create", "--name", "a test"]).env("NATS_URL", &url));
    assert_eq!(created.code, Some(0), "{created:?}");
    let api = spotter(["api"]).env("AUTH", "keys").env("PORT", "0").env("NATS_URL", &url).start();
    let line = api.wait_for_line(|line| line.output == Output::Stdout, TIMEOUT).text;
    let base = line.strip_prefix("listening on ").unwrap().to_owned();
    (Guarded { base, _api: api }, created.stdout.concat())
}

/// The address in the README's examples.
const SHOWN: &str = "http://127.0.0.1:5000";

/// The lines of the README's shell blocks with `curl`.
fn curl_lines() -> Vec<String> {
    let readme = fs::read_to_string(workspace_root().join("README.md")).unwrap();
    let mut in_shell = false;
    let mut lines = Vec::new();
    for line in readme.lines() {
        match line.trim() {
            "```bash" => in_shell = true,
            "```" => in_shell = false,
            line if in_shell && line.contains("curl ") => lines.push(line.to_owned()),
            _ => {}
        }
    }
    lines
}

fn run(line: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", &line.replacen("curl ", "curl -sS --fail-with-body ", 1)])
        .current_dir(workspace_root())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    // The task has ended by the time that it is cancelled.
    let was_too_late = line.contains("-X DELETE") && stdout.contains("task-ended");
    assert!(output.status.success() || was_too_late, "{line}: {stdout}{stderr}");
    stdout
}

#[test]
fn the_curl_lines_of_the_readme_work() {
    let lines = curl_lines();
    assert!(lines.len() >= 4, "the README shows how to use curl: {lines:?}");
    let bus = fs::read(picture("bus.jpg")).unwrap();
    let pictures = HttpServer::start(move |_| Some(http_answer("200 OK", "", &bus)));
    let data = tempfile::tempdir().unwrap();
    let receiver = HttpServer::start(|_| Some(http_answer("204 No Content", "", b"")));
    let process = up(data.path(), 0)
        .env("FETCH_ALLOW", pictures.origin())
        .env("WEBHOOK_ALLOW", receiver.origin())
        .env("WEBHOOK_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        .start();
    let up = Up::of(process, data);
    let picture_url = format!("{}/bus.jpg", pictures.origin());
    let (guarded, key) = requiring_keys(&up);
    let (mut task_id, mut batch_id) = (String::new(), String::new());
    let mut submitted = 0;
    for line in lines {
        // An API that requires keys, on the same queue.
        let base = if line.contains("API_KEY") { &guarded.base } else { &up.base };
        let line = line.replace(SHOWN, base).replace("API_KEY", &key).replace("TASK_ID", &task_id);
        let line = line.replace("BATCH_ID", &batch_id);
        let line = line.replace("PICTURE_URL", &picture_url);
        let line = line.replace("CALLBACK_URL", &receiver.origin());
        assert!(!line.contains("5000"), "{line}: an address the test does not know");
        let answer = run(&line);
        let answer = serde_json::from_str::<Value>(&answer);
        if let Ok(Some(id)) = answer.as_ref().map(|answer| answer["batch_id"].as_str()) {
            batch_id = id.to_owned();
        }
        if let Ok(answer) = answer
            && let Some(id) = answer["task_id"].as_str()
        {
            submitted += usize::from(task_id != id);
            task_id = id.to_owned();
        }
    }
    assert!(submitted >= 2, "pictures are submitted by both APIs");
    assert_eq!(pictures.requests().len(), 3, "a picture alone, and two of a batch, are fetched");
    let called = eventually(TIMEOUT, async || (!receiver.requests().is_empty()).then_some(()));
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(called);
    assert_eq!(up.stop(), Some(0));
}
