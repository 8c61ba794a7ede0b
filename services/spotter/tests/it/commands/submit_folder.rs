//! `spotter submit --folder`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;
use testkit::{Process, ProcessBuilder, eventually, picture};
use tokio::task::spawn_blocking;

use crate::{
    harness::{Ended, System, TIMEOUT, spotter},
    reference::assert_bus,
};

/// How many pictures of different contents the folder has, besides one that is damaged.
const PICTURES: u8 = 24;

/// A bitmap of 8 by 8 pixels of one grey.
fn bitmap(grey: u8) -> Vec<u8> {
    const SIDE: u32 = 8;
    let (headers, pixels) = (54, SIDE * SIDE * 3);
    let mut file = b"BM".to_vec();
    for field in [headers + pixels, 0, headers, 40, SIDE, SIDE, 24 << 16 | 1, 0, pixels, 0, 0, 0, 0]
    {
        file.extend(field.to_le_bytes());
    }
    file.resize(file.len() + pixels as usize, grey);
    file
}

/// A folder of pictures, and the file of results beside it.
struct Folder {
    root: TempDir,
}

impl Folder {
    fn new() -> Self {
        let this = Self { root: tempfile::tempdir().unwrap() };
        fs::create_dir_all(this.path("pictures/below")).unwrap();
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn add(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path("pictures").join(name), content).unwrap();
    }

    fn out(&self) -> PathBuf {
        self.path("results.ndjson")
    }

    fn submit(&self, api: &str) -> ProcessBuilder {
        let command = spotter(["submit", "--api", api, "--folder"]).arg(self.path("pictures"));
        command.arg("--out").arg(self.out())
    }

    async fn run(&self, api: &str) -> Ended {
        let command = self.submit(api);
        spawn_blocking(move || Ended::of(command)).await.unwrap()
    }

    fn results(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.out()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

async fn kill_after(mut command: Process, out: &Path, lines: usize) {
    let written = || fs::read_to_string(out).map_or(0, |text| text.lines().count());
    eventually(TIMEOUT, async || (written() >= lines).then_some(())).await;
    command.kill9();
    assert!(written() < usize::from(PICTURES), "it was killed in the middle of the folder");
}

async fn tasks(system: &System) -> Vec<Value> {
    system.v1_get("/v1/tasks?limit=100").await["tasks"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_command_that_is_killed_is_continued_and_runs_no_picture_twice() {
    let system = System::start();
    let _worker = system.worker();
    let folder = Folder::new();
    for grey in 0..PICTURES {
        folder.add(&format!("{grey:02}.bmp"), bitmap(grey));
    }
    folder.add("below/same as 03.BMP", bitmap(3));
    folder.add("below/bus.jpg", fs::read(picture("bus.jpg")).unwrap());
    folder.add("damaged.png", "no picture");
    folder.add("notes.txt", "no picture either");

    kill_after(folder.submit(&system.base).start(), &folder.out(), 3).await;
    // As if it had been killed while it wrote the last line.
    let out = OpenOptions::new().write(true).open(folder.out()).unwrap();
    out.set_len(out.metadata().unwrap().len() - 5).unwrap();
    kill_after(folder.submit(&system.base).start(), &folder.out(), 10).await;
    let ended = folder.run(&system.base).await;

    assert_eq!(ended.code, Some(1), "one picture is damaged: {ended:?}");
    let (all, good) = (usize::from(PICTURES) + 3, usize::from(PICTURES) + 2);
    let summary =
        format!("{all} pictures in {}: {good} with a result, 1 failed", folder.out().display());
    assert!(ended.stderr.iter().any(|line| line.starts_with(&summary)), "{ended:?}");
    let results = folder.results();
    let by_path: BTreeMap<_, _> =
        results.iter().map(|line| (line["path"].as_str().unwrap(), line)).collect();
    assert_eq!((results.len(), by_path.len()), (all, all), "{results:?}");
    assert_bus(&by_path["below/bus.jpg"]["objects"]);
    assert_eq!(by_path["damaged.png"]["state"], "REFUSED");
    assert_eq!(by_path["damaged.png"]["retryable"], false);
    let (one, other) = (by_path["03.bmp"], by_path["below/same as 03.BMP"]);
    assert_eq!((&one["sha256"], &one["task_id"]), (&other["sha256"], &other["task_id"]));
    assert_eq!(other["state"], "SUCCESS");

    let tasks = tasks(&system).await;
    let run: BTreeSet<_> =
        tasks.iter().map(|task| task["picture_name"].as_str().unwrap()).collect();
    let contents = usize::from(PICTURES) + 1;
    assert_eq!((tasks.len(), run.len()), (contents, contents));
    assert!(tasks.iter().all(|task| task["attempts"] == 1), "{tasks:?}");

    // There is nothing left to do, and the damaged picture is known.
    let again = folder.run(&system.base).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(
        again.stderr.iter().any(|line| line.ends_with("27 of them in an earlier run")),
        "{again:?}"
    );
    assert_eq!(folder.results().len(), all);
}

#[tokio::test]
async fn a_task_that_was_cancelled_is_tried_again_by_the_next_run() {
    let system = System::start();
    let folder = Folder::new();
    folder.add("a.bmp", bitmap(1));
    // There is no worker.
    let submit = folder.submit(&system.base).args(["--timeout", "1"]);
    let ended = spawn_blocking(move || Ended::of(submit)).await.unwrap();
    assert_eq!(ended.code, Some(69), "{ended:?}");
    let said = ended.stderr.join("\n");
    assert!(said.contains("nothing has happened for 1s; the same command continues"), "{said}");
    let task: Value = tasks(&system).await.remove(0);
    let url = format!("{}/v1/tasks/{}", system.base, task["task_id"].as_str().unwrap());
    assert!(system.http.delete(url).send().await.unwrap().status().is_success());

    let cancelled = folder.run(&system.base).await;
    assert_eq!(cancelled.code, Some(1), "{cancelled:?}");
    let _worker = system.worker();
    let ended = folder.run(&system.base).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let [revoked, found] = &folder.results()[..] else { panic!("{:?}", folder.results()) };
    assert_eq!((&revoked["state"], &revoked["retryable"]), (&"REVOKED".into(), &true.into()));
    assert_eq!((&revoked["task_id"], &found["state"]), (&task["task_id"], &"SUCCESS".into()));
    assert_ne!(revoked["task_id"], found["task_id"]);

    // Another file of results, and the same task; with another key, another one.
    fs::remove_file(folder.out()).unwrap();
    assert_eq!(folder.run(&system.base).await.code, Some(1));
    assert_eq!(folder.results()[0]["task_id"], task["task_id"]);
    fs::remove_file(folder.out()).unwrap();
    let anew = folder.submit(&system.base).args(["--idempotency-key", "again"]);
    let anew = spawn_blocking(move || Ended::of(anew)).await.unwrap();
    assert_eq!((anew.code, tasks(&system).await.len()), (Some(0), 3), "{anew:?}");
}

#[tokio::test]
async fn an_interrupted_command_says_that_it_can_be_continued() {
    let system = System::start();
    let folder = Folder::new();
    folder.add("a.bmp", bitmap(1));
    let mut submitting = folder.submit(&system.base).start();
    eventually(TIMEOUT, async || (tasks(&system).await.len() == 1).then_some(())).await;
    submitting.signal("INT");
    let ended = spawn_blocking(move || Ended::after(submitting)).await.unwrap();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert_eq!(ended.stderr, ["spotter: interrupted; the same command continues"]);
}

#[tokio::test]
async fn what_no_retry_helps_ends_the_command() {
    let system = System::start_with(&[("AUTH", "keys")]);
    let folder = Folder::new();
    let ended = folder.run(&system.base).await;
    assert_eq!(ended.code, Some(64), "the folder is empty: {ended:?}");
    folder.add("a.bmp", bitmap(1));
    let ended = folder.run(&system.base).await;
    assert_eq!((ended.code, folder.results().len()), (Some(64), 0), "no key: {ended:?}");
    fs::write(folder.out(), "something else\n").unwrap();
    let ended = folder.run(&system.base).await;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.stderr.join("\n").contains("line 1 of "), "{ended:?}");
    fs::remove_dir_all(folder.path("pictures")).unwrap();
    assert_eq!(folder.run(&system.base).await.code, Some(64));
    for wrong in [
        &["--folder", "x"][..],
        &["--out", "x", "a.jpg"],
        &["--folder", "x", "--out", "y", "a.jpg"],
    ] {
        assert_eq!(Ended::of(spotter(["submit"]).args(wrong)).code, Some(64), "{wrong:?}");
    }
}
