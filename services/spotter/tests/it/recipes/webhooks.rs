//! Webhooks that end in a database.

use std::fs;

use testkit::{eventually, free_port};

use super::{
    page::{WEBHOOKS, blocks},
    shell::{Shell, python_path},
};
use crate::harness::{System, TIMEOUT, spotter};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Sends a webhook twice, and then one with another body and the same signature; prints the statuses.
const REPEATED: &str = r#"
import datetime, os, sys, urllib.error, urllib.request
from standardwebhooks import Webhook
now = datetime.datetime.now(tz=datetime.timezone.utc)
body = '{"type":"task.failure","timestamp":"2026-01-01T00:00:00Z","data":{"task_id":"x","state":"FAILURE"}}'
signature = Webhook(os.environ["WEBHOOK_SECRETS"]).sign("msg_x", now, body)
headers = {"webhook-id": "msg_x", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
for sent in (body.encode(), body.encode(), body.encode() + b" ", b"\xff"):
    try:
        print(urllib.request.urlopen(urllib.request.Request(sys.argv[1], sent, headers)).status)
    except urllib.error.HTTPError as error:
        print(error.code)
"#;

/// Prints what a query finds.
const QUERY: &str = r#"
import sqlite3, sys
for row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]):
    print(*row)
"#;

fn query(shell: &Shell, sql: &str) -> String {
    fs::write(shell.path("query.py"), QUERY).unwrap();
    shell.run(&format!("python3 query.py objects.sqlite \"{}\"", sql.trim()))
}

#[tokio::test]
async fn each_webhook_is_a_row_once() {
    let Some(packages) = python_path("webhook_to_sqlite.py") else { return };
    let port = free_port().to_string();
    let receiver = format!("http://127.0.0.1:{port}");
    let system = System::start_with(&[("WEBHOOKS", "on"), ("WEBHOOK_ALLOW", &receiver)]);
    let _worker = system.worker();
    let notifier = spotter(["notifier"])
        .env("NATS_URL", system.nats.url())
        .env("WEBHOOK_SECRETS", SECRET)
        .env("WEBHOOK_ALLOW", &receiver)
        .env("WEBHOOK_RETRY_SECONDS", ["1"; 60].join(","))
        .start();
    notifier.wait_for_line(|line| line.text == "ready", TIMEOUT);
    let shell = Shell::new(&system.base)
        .with("PYTHONPATH", &packages)
        .with("WEBHOOK_SECRETS", SECRET)
        .showing("--port 8000", &format!("--port {port}"))
        .showing("http://127.0.0.1:8000", &receiver);
    let [receive, submit] = blocks(WEBHOOKS, "bash");
    let [count] = blocks(WEBHOOKS, "sql");

    // The task ends before the receiver runs.
    let task = shell.run(&submit);
    let task: serde_json::Value = serde_json::from_str(&task).unwrap();
    system.terminal(task["task_id"].as_str().unwrap().parse().unwrap()).await;
    let program = shell.start(&format!("exec {receive}"));
    program.wait_for_line(|line| line.text.starts_with("listening on"), TIMEOUT);
    let arrived =
        async || Some(query(&shell, "SELECT task_id FROM tasks")).filter(|found| !found.is_empty());
    assert_eq!(eventually(TIMEOUT, arrived).await, task["task_id"].as_str().unwrap());
    let counted = query(&shell, &count);
    let counts: Vec<&str> = counted.lines().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    assert_eq!(counts, ["bus 1", "person 4", "stop sign 1"]);

    fs::write(shell.path("repeated.py"), REPEATED).unwrap();
    let statuses = shell.run(&format!("python3 repeated.py {receiver}"));
    assert_eq!(statuses, "204\n204\n401\n401");
    let of_both = query(&shell, "SELECT state, objects_left_out FROM tasks ORDER BY state");
    assert_eq!(of_both, "FAILURE 0\nSUCCESS 0");
}
