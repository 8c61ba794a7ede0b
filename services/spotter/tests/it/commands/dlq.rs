//! `spotter dlq`: lists, shows, requeues and drops dead letters.

use std::fs;

use domain::{FailureReason, ModelName, TaskId, TaskRecord, TaskState};
use messaging::{Messaging, MessagingConfig, Role};
use serde_json::Value;
use testkit::{NatsServer, picture};

use crate::{
    harness::{Ended, TIMEOUT, spotter},
    poison,
};

/// A queue, and a real worker that gives up jobs.
struct Queue {
    nats: NatsServer,
    messaging: Messaging,
}

impl Queue {
    async fn start() -> Self {
        let nats = NatsServer::start();
        let config = MessagingConfig::new(nats.url().parse().unwrap(), Role::Api);
        let messaging = Messaging::connect(config).await.unwrap();
        messaging.provision([ModelName::default()]).await.unwrap();
        Self { nats, messaging }
    }

    /// Runs `spotter dlq` with these arguments.
    fn dlq(&self, args: &[&str]) -> Ended {
        Ended::of(spotter(["dlq"]).args(args).args(["--nats-url", &self.nats.url()]))
    }

    /// The output of `list --json`, sorted by id, which is the order of submission. The dead letters are in the order
    /// in which the worker has given them up.
    fn listed(&self) -> Vec<Value> {
        let ended = self.dlq(&["list", "--json"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let mut letters: Vec<Value> =
            ended.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        letters.sort_by_key(|letter| letter["id"].as_str().map(str::to_owned));
        letters
    }

    async fn poisoned<const N: usize>(&self, pictures: [(&str, &[u8]); N]) -> [TaskId; N] {
        poison::poisoned(&self.nats, &self.messaging, pictures).await
    }

    async fn record(&self, id: TaskId) -> TaskRecord {
        self.messaging.tasks().get(id).await.unwrap().expect("the task has a record")
    }
}

/// A picture above the inline limit: bytes after the end of the JPEG are part of the file.
fn large_bus() -> Vec<u8> {
    let mut bytes = fs::read(picture("bus.jpg")).unwrap();
    bytes.resize(2 << 20, 7);
    bytes
}

fn is_poison(record: &TaskRecord) -> bool {
    matches!(record.state, TaskState::Failure { reason: FailureReason::Poison, .. })
}

#[tokio::test]
async fn poison_is_listed_shown_and_requeued_and_its_task_keeps_its_state() {
    let queue = Queue::start().await;
    let (small, large) = (fs::read(picture("bus.jpg")).unwrap(), large_bus());
    let pictures = [("bus.jpg", &small[..]), ("large\u{1b}[2J.jpg", &large[..])];
    let [first, second] = queue.poisoned(pictures).await;
    let olds = [queue.record(first).await, queue.record(second).await];
    assert!(olds.iter().all(is_poison), "{olds:?}");

    for (listed, (old, (name, bytes))) in queue.listed().iter().zip(olds.iter().zip(pictures)) {
        assert_eq!(listed["id"], old.job.task_id.to_string());
        assert_eq!((&listed["reason"], &listed["deliveries"]), (&"poison".into(), &2.into()));
        assert_eq!(listed["job"]["picture_name"], name);
        assert_eq!(listed["picture_bytes"], bytes.len());
    }
    let table = queue.dlq(&["list"]);
    assert_eq!((table.code, table.stdout.len()), (Some(0), 3), "{table:?}");
    assert!(!table.stdout.concat().contains('\u{1b}'), "{table:?}");

    let folder = tempfile::tempdir().unwrap();
    for (old, (_, bytes)) in olds.iter().zip(pictures) {
        let (id, file) = (old.job.task_id.to_string(), folder.path().join("saved.jpg"));
        let shown = queue.dlq(&["show", &id, "--save", file.to_str().unwrap()]);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        let TaskState::Failure { message, .. } = &old.state else { panic!("{old:?}") };
        for said in [&id, message, "deliveries  2"] {
            assert!(shown.stdout.join("\n").contains(said), "{said}: {shown:?}");
        }
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }

    let unsure = queue.dlq(&["requeue", "--all"]);
    assert_eq!((unsure.code, queue.listed().len()), (Some(64), 2), "{unsure:?}");
    let mut requeued = queue.dlq(&["requeue", "--all", "--yes"]);
    assert_eq!((requeued.code, requeued.stdout.len()), (Some(0), 2), "{requeued:?}");
    requeued.stdout.sort();
    let _worker = poison::impatient_worker(&queue.nats);
    for (line, old) in requeued.stdout.iter().zip(&olds) {
        assert!(line.starts_with(&old.job.task_id.to_string()), "{line}");
        let new: TaskId = line.rsplit(' ').next().unwrap().parse().unwrap();
        let give_up = tokio::time::sleep(TIMEOUT);
        let end = queue.messaging.tasks().await_terminal(new, give_up).await.unwrap().unwrap();
        assert!(matches!(end.state, TaskState::Success { .. }), "{end:?}");
        assert_eq!(&queue.record(old.job.task_id).await, old);
    }
    poison::drained(&queue.nats, &queue.messaging).await;
    assert!(queue.listed().is_empty());
}

#[tokio::test]
async fn dropped_dead_letters_are_gone_and_the_others_remain() {
    let queue = Queue::start().await;
    let bytes = large_bus();
    let ids = queue.poisoned([("a.jpg", &bytes), ("b.jpg", &bytes), ("c.jpg", &bytes)]).await;
    let [a, b, c] = ids.map(|id| id.to_string());
    // An unknown id: nothing is done to the others either.
    let absent = TaskId::generate().to_string();
    for command in ["drop", "requeue"] {
        let ended = queue.dlq(&[command, &a, &absent]);
        assert_eq!((ended.code, queue.listed().len()), (Some(64), 3), "{ended:?}");
        assert!(ended.stderr.join("\n").contains(&absent), "{ended:?}");
    }
    let ended = queue.dlq(&["drop", &b, &b]);
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 1), "{ended:?}");
    let left: Vec<Value> = queue.listed().iter().map(|letter| letter["id"].clone()).collect();
    assert_eq!(left, [a, c]);
    let ended = queue.dlq(&["drop", "--all"]);
    assert_eq!((ended.code, queue.listed().len()), (Some(64), 2), "{ended:?}");
    let ended = queue.dlq(&["drop", "--all", "--yes"]);
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 2), "{ended:?}");
    // An empty list is not an error, and is reported.
    for command in [&["list"][..], &["drop", "--all", "--yes"]] {
        let ended = queue.dlq(command);
        assert_eq!((ended.code, ended.stdout.len()), (Some(0), 0), "{ended:?}");
        assert!(!ended.stderr.is_empty(), "{ended:?}");
    }
}

#[tokio::test]
async fn a_message_that_is_not_a_job_is_listed_by_its_sequence_and_dropped() {
    let queue = Queue::start().await;
    let answer = queue.nats.request("jobs.yolov8n.x", "no job");
    assert!(answer.is_some_and(|ack| ack.contains("JOBS")), "the queue stores it");
    let _worker = poison::impatient_worker(&queue.nats);
    poison::drained(&queue.nats, &queue.messaging).await;
    let [letter] = &queue.listed()[..] else { panic!("there is one dead letter") };
    assert_eq!((&letter["id"], &letter["job"]), (&"1".into(), &Value::Null));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("payload");
    let shown = queue.dlq(&["show", "1", "--save", file.to_str().unwrap()]);
    assert_eq!((shown.code, fs::read(&file).unwrap()), (Some(0), b"no job".to_vec()), "{shown:?}");
    let requeued = queue.dlq(&["requeue", "1"]);
    assert_eq!((requeued.code, queue.listed().len()), (Some(1), 1), "{requeued:?}");
    let requeued = queue.dlq(&["requeue", "--all", "--yes"]);
    assert_eq!((requeued.code, queue.listed().len()), (Some(0), 1), "{requeued:?}");
    assert_eq!(queue.dlq(&["drop", "1"]).code, Some(0));
    assert!(queue.listed().is_empty());
}

#[tokio::test]
async fn errors_have_their_exit_codes() {
    let empty = NatsServer::start();
    let url = empty.url();
    let cases = [
        ("no server", vec!["list", "--nats-url", "nats://127.0.0.1:1"], 69),
        ("a server without a queue", vec!["list", "--nats-url", &url], 69),
        ("no address", vec!["list", "--nats-url", "http://x"], 64),
        ("no id", vec!["show", "bus.jpg"], 64),
        ("no choice", vec!["drop"], 64),
        ("two choices", vec!["drop", "7", "--all"], 64),
    ];
    for (what, args, code) in cases {
        let ended = Ended::of(spotter(["dlq"]).args(args));
        assert_eq!(ended.code, Some(code), "{what}: {ended:?}");
        assert!(!ended.stderr.is_empty(), "{what}");
    }
}
