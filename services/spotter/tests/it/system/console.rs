//! The console in Chromium, and its built files. Both need Node and packages, which `scripts/setup --tests` installs.

#![allow(clippy::print_stderr, reason = "a skipped test is reported")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use domain::{CallbackUrl, DetectionSettings, Job, TaskRecord, TaskState};
use messaging::{Messaging, MessagingConfig, Role};
use testkit::{Process, eventually, picture, workspace_root};
use time::OffsetDateTime;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    harness::{Ended, System, TIMEOUT, spotter},
    node::{has_packages, program},
    poison::poisoned,
};

/// Longer than all pages together take on a busy machine.
const ALL_PAGES: Duration = Duration::from_secs(480);

/// The names that Chromium's program has.
const CHROMIUM: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

fn console() -> PathBuf {
    workspace_root().join("services/console")
}

/// Makes a key with these options.
fn create_key(system: &System, options: &[&str]) -> String {
    let url = system.nats.url();
    let create = spotter(["key", "create", "--nats-url", &url, "--name", "console"]).args(options);
    let created = Ended::of(create);
    assert_eq!(created.code, Some(0), "{created:?}");
    created.stdout[0].clone()
}

/// Has a worker give up three jobs, and returns the ids of their tasks, between commas.
async fn give_up_three(system: &System) -> String {
    let config = MessagingConfig::new(system.nats.url().parse().unwrap(), Role::Api);
    let messaging = Messaging::connect(config).await.unwrap();
    let bytes = fs::read(picture("bus.jpg")).unwrap();
    let pictures = ["requeued.jpg", "dropped.jpg", "kept.jpg"].map(|name| (name, &bytes[..]));
    let ids = poisoned(&system.nats, &messaging, pictures).await;
    messaging.close().await;
    ids.map(|id| id.to_string()).join(",")
}

/// Gives up the webhook of a task, as a notifier does, and returns the task's id.
async fn give_up_webhook(system: &System) -> String {
    let connect =
        |role| Messaging::connect(MessagingConfig::new(system.nats.url().parse().unwrap(), role));
    let (worker, notifier) =
        (connect(Role::Worker).await.unwrap(), connect(Role::Notifier).await.unwrap());
    let callback_url = Some(CallbackUrl::new("https://example.com/hook".to_owned()));
    let model = "yolov8n".parse().unwrap();
    let job =
        Job { callback_url, ..Job::new("bus.jpg".to_owned(), model, DetectionSettings::default()) };
    let revoked = TaskState::Revoked { finished_at: OffsetDateTime::now_utc() };
    let record = TaskRecord::queued(job).with_state(revoked);
    worker.tasks().finish(&record).await.unwrap();
    let (deliveries, (sender, mut due)) = (notifier.webhooks().deliveries(), mpsc::channel(1));
    let delivery = tokio::select! {
        () = async { loop { deliveries.take(1, &sender).await } } => unreachable!("it takes webhooks for ever"),
        delivery = timeout(TIMEOUT, due.recv()) => delivery.expect("a webhook is due").expect("it is taking"),
    };
    delivery.give_up("the receiver answered 500").await.unwrap();
    worker.close().await;
    notifier.close().await;
    record.job.task_id.to_string()
}

#[tokio::test]
async fn the_console_works_in_chromium() {
    let Some(chromium) = CHROMIUM.into_iter().find_map(program) else {
        eprintln!("SKIPPED: Chromium is not installed: scripts/setup --tests");
        return;
    };
    if !has_packages(&console()) {
        return;
    }
    let system = System::start_with(&[("WEBHOOKS", "on")]);
    let keyed = System::start_with(&[("AUTH", "keys")]);
    // Jobs wait there.
    let idle = System::start();
    let dead_letters = give_up_three(&system).await;
    let dead_webhook = give_up_webhook(&system).await;
    let (_worker, _keyed_worker) = (system.worker(), keyed.worker());
    let (key, read_key) = (create_key(&keyed, &[]), create_key(&keyed, &["--scope", "read"]));
    let admin_key = create_key(&keyed, &["--scope", "admin"]);
    // The API is told of new keys within a second.
    eventually(TIMEOUT, || async {
        let request = keyed.http.get(format!("{}/v1/tasks?limit=1", keyed.base));
        let answer = request.bearer_auth(&admin_key).send().await.unwrap();
        answer.status().is_success().then_some(())
    })
    .await;
    let pictures = picture("bus.jpg");
    let tests = Process::builder("node")
        .args(["--test-reporter=spec", "--test-reporter-destination=stdout", "tests/main.mjs"])
        .current_dir(console())
        .env("CHROMIUM", chromium)
        .env("CONSOLE_URL", &system.base)
        .env("IDLE_URL", &idle.base)
        .env("KEYED_URL", &keyed.base)
        .env("KEY", key)
        .env("READ_KEY", read_key)
        .env("ADMIN_KEY", admin_key)
        .env("DEAD_LETTERS", dead_letters)
        .env("DEAD_WEBHOOK", dead_webhook)
        .env("PICTURES", pictures.parent().unwrap());
    let mut tests = tests.start();
    let code = tests.wait_exit(ALL_PAGES).code();
    let lines: Vec<_> = tests.finished_lines().into_iter().map(|line| line.text).collect();
    assert_eq!(code, Some(0), "{}", lines.join("\n"));
}

/// The content of each file of a folder, by its path in it.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if path.is_dir() {
            found.extend(
                files(&path).into_iter().map(|(inside, content)| (name.join(inside), content)),
            );
        } else {
            found.push((name, fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn the_built_console_is_that_of_its_sources() {
    if !has_packages(&console()) {
        return;
    }
    let built = tempfile::tempdir().unwrap();
    let build = Command::new("npm")
        .args(["run", "build", "--", "--emptyOutDir", "--outDir"])
        .arg(built.path())
        .current_dir(console())
        .output()
        .unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stdout));
    let (committed, built) = (files(&console().join("dist")), files(built.path()));
    let names = |files: &[(PathBuf, Vec<u8>)]| -> Vec<_> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&committed), names(&built));
    for ((name, committed), (_, built)) in committed.iter().zip(&built) {
        assert!(committed == built, "{} is not that of the sources: make console", name.display());
    }
}
