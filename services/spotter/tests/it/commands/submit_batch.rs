//! `spotter submit --batch`.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::{
    Direction, HttpServer, Output, ProcessBuilder, TcpProxy, eventually, http_answer, picture,
    workspace_root,
};
use tokio::task::spawn_blocking;

use crate::{
    harness::{Ended, System, TIMEOUT, spotter},
    reference::assert_bus,
};

fn submit(api: &str) -> ProcessBuilder {
    spotter(["submit", "--batch", "--json", "--api", api])
}

async fn run(command: ProcessBuilder) -> Ended {
    spawn_blocking(move || Ended::of(command)).await.unwrap()
}

/// The id of the batch that the command has sent.
fn id_in(stderr: &[String]) -> &str {
    let id = stderr.iter().find_map(|line| line.strip_prefix("batch "));
    id.unwrap_or_else(|| panic!("no id: {stderr:?}"))
}

fn results(ended: &Ended) -> Vec<Value> {
    ended.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn tasks(system: &System) -> usize {
    let answer = system.http.get(format!("{}/v1/tasks", system.base)).send().await.unwrap();
    let list: Value = answer.json().await.unwrap();
    list["tasks"].as_array().unwrap().len()
}

#[tokio::test]
async fn pictures_are_sent_as_one_batch_once_and_their_results_are_in_order() {
    let system = System::start();
    let _worker = system.worker();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    // A name that could end the header of its part, and one that is not UTF-8.
    let (bus, coffee) = (file(b"a \"b\"; x=\"\r\n\r\n.jpg"), file(b"f\xfcr.png"));
    fs::copy(picture("bus.jpg"), &bus).unwrap();
    fs::copy(picture("coffee.png"), &coffee).unwrap();
    let notes = file(b"notes.txt");
    fs::write(&notes, "no picture").unwrap();
    let pictures: [PathBuf; 5] = [bus, file(b"absent.jpg"), notes, coffee, folder.path().into()];

    let first = run(submit(&system.base).args(&pictures)).await;
    assert_eq!(first.code, Some(1), "three of five have no result: {first:?}");
    let found = results(&first);
    assert_eq!(found.len(), 5, "{first:?}");
    assert_bus(&found[0]["objects"]);
    assert_eq!(found[3]["objects"][0]["name"], "cup", "{first:?}");
    assert_eq!(found[0]["picture"], pictures[0].to_string_lossy().as_ref());
    for (index, words) in [(1, "No such file"), (2, "JPEG"), (4, "regular file")] {
        let picture = pictures[index].to_string_lossy();
        assert_eq!(found[index]["picture"], picture.as_ref());
        let error = found[index]["error"].as_str().unwrap();
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(tasks(&system).await, 2);

    // The same command again finds the batch; with another key, it is another batch.
    let again = run(submit(&system.base).args(&pictures)).await;
    assert_eq!((id_in(&again.stderr), &again.stdout), (id_in(&first.stderr), &first.stdout));
    assert_eq!(tasks(&system).await, 2);
    let anew = submit(&system.base).args(["--idempotency-key", "another"]).args(&pictures);
    let anew = run(anew).await;
    assert_ne!(id_in(&anew.stderr), id_in(&first.stderr));
    assert_eq!((tasks(&system).await, anew.stdout), (4, first.stdout));
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_not_sent_as_another_one() {
    let system = System::start();
    let _worker = system.worker();
    let proxy = TcpProxy::start(system.base.rsplit(':').next().unwrap().parse().unwrap());
    let lost = Arc::new(AtomicBool::new(false));
    let dropped = Arc::clone(&lost);
    proxy.drop_frames(Direction::ToClient, move |bytes| {
        let is_answer = bytes.starts_with(b"HTTP/1.1 202");
        dropped.fetch_or(is_answer, Ordering::Relaxed);
        is_answer
    });
    let api = format!("http://127.0.0.1:{}", proxy.port());
    let submitting = submit(&api).args([picture("bus.jpg"), picture("coffee.png")]).start();
    eventually(TIMEOUT, async || lost.load(Ordering::Relaxed).then_some(())).await;
    proxy.cut();
    proxy.heal();
    let ended = spawn_blocking(move || Ended::after(submitting)).await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let found = results(&ended);
    assert_bus(&found[0]["objects"]);
    assert_eq!((found.len(), tasks(&system).await), (2, 2));
}

#[tokio::test]
async fn an_interrupted_command_says_how_to_follow_and_to_cancel_the_batch() {
    let system = System::start();
    let mut submitting = submit(&system.base).arg(picture("bus.jpg")).start();
    let id = submitting.wait_for_line(
        |line| line.output == Output::Stderr && line.text.starts_with("batch "),
        TIMEOUT,
    );
    let id = id.text.strip_prefix("batch ").unwrap().to_owned();
    submitting.signal("INT");
    let ended = spawn_blocking(move || Ended::after(submitting)).await.unwrap();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    let url = format!("{}/v1/batches/{id}", system.base);
    let said = ended.stderr.join("\n");
    assert!(said.contains(&format!("curl -N {url}/events")), "{said}");
    assert!(said.contains(&format!("curl -X DELETE {url}")), "{said}");
    let answer = system.http.delete(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_batch_that_is_too_large_says_what_of_it_is_run() {
    let system = System::start_with(&[("MAX_BATCH_ITEMS", "1"), ("RESPONSE_CACHE_SECONDS", "0")]);
    let ended = run(submit(&system.base).args([picture("bus.jpg"), picture("coffee.png")])).await;
    assert_eq!((ended.code, ended.stdout.len()), (Some(1), 0), "{ended:?}");
    let said = ended.stderr.join("\n");
    assert!(said.contains("only the first 1 pictures are in batch"), "{said}");
    assert_eq!(tasks(&system).await, 1);
}

#[tokio::test]
async fn a_batch_in_which_nothing_happens_is_given_up() {
    let system = System::start();
    let command = submit(&system.base).args(["--timeout", "1"]).arg(picture("bus.jpg"));
    let ended = run(command).await;
    assert_eq!(ended.code, Some(69), "{ended:?}");
    let said = ended.stderr.join("\n");
    assert!(said.contains("nothing has happened for 1s"), "{said}");
}

/// Longer than the command waits before it asks for results again, and shorter than all the waits of the test together.
const LIMIT_SECONDS: &str = "5";

#[test]
fn a_batch_whose_results_flow_is_not_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let files = [0, 1, 2, 3].map(|number| folder.path().join(format!("{number}.jpg")));
    for file in &files {
        fs::write(file, "no picture").unwrap();
    }
    let batch = json!({
        "batch_id": "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47", "state": "FINISHED", "received": 4,
        "created_at": "2026-01-01T00:00:00Z", "links": {"self": "s", "events": "e", "results": "r"},
        "counts": {"pending": 0, "succeeded": 0, "failed": 0, "revoked": 0, "expired": 0, "refused": 4},
    });
    let line =
        |index: usize| format!("{}\n", json!({"index": index, "error": {"detail": "no picture"}}));
    // Each time the results are asked for, there is one more before they break off.
    let asked = AtomicUsize::new(0);
    let api = HttpServer::start(move |request| {
        let body = match request.path() {
            path if path.ends_with("/events") => format!("event: finished\ndata: {batch}\n\n"),
            path if path.ends_with("/results") => {
                (0..=asked.fetch_add(1, Ordering::Relaxed)).map(line).collect()
            }
            _ => batch.to_string(),
        };
        Some(http_answer("200 OK", "connection: close\r\n", body.as_bytes()))
    });
    let ended = Ended::of(submit(&api.origin()).args(["--timeout", LIMIT_SECONDS]).args(&files));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let printed: Vec<_> = results(&ended).iter().map(|line| line["picture"].clone()).collect();
    assert_eq!(printed, files.map(|file| Value::from(file.to_string_lossy().as_ref())));
}

#[test]
fn a_file_that_is_gone_when_it_is_sent_again_is_named_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.jpg");
    fs::write(&file, "a picture").unwrap();
    let deleted = file.clone();
    let api = HttpServer::start(move |request| {
        if request.head.starts_with("GET") {
            return Some(http_answer("200 OK", "connection: close\r\n", b"{}"));
        }
        fs::remove_file(&deleted).unwrap();
        let busy = "connection: close\r\nretry-after: 0\r\n";
        Some(http_answer("503 Service Unavailable", busy, b"{}"))
    });
    let ended = Ended::of(submit(&api.origin()).arg(&file));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said = ended.stderr.join("\n");
    assert!(said.contains(&format!("{} cannot be sent: No such file", file.display())), "{said}");
}

#[tokio::test]
async fn the_pictures_of_an_archive_have_their_names_there() {
    let system = System::start();
    let _worker = system.worker();
    let archive = workspace_root().join("services/api/tests/zips/python-streamed-stored.zip");
    let ended = run(submit(&system.base).arg(picture("bus.jpg")).arg(archive)).await;
    let names: Vec<_> = results(&ended).iter().map(|line| line["picture"].clone()).collect();
    let bus = picture("bus.jpg");
    assert_eq!(names[0], bus.to_string_lossy().as_ref());
    assert_eq!(names[1..], ["a.gif", "b.gif"], "{ended:?}");
}

/// How many files a large batch has, and how large each is: 128 MiB in all.
const FILES: usize = 64;
const FILE_BYTES: u64 = 2 << 20;

#[tokio::test]
async fn a_large_batch_is_never_in_memory_as_a_whole() {
    let system = System::start();
    let folder = tempfile::tempdir().unwrap();
    let file = |number: usize| {
        let path = folder.path().join(format!("{number}.bin"));
        File::create(&path).unwrap().set_len(FILE_BYTES).unwrap();
        path
    };
    // No worker: the command waits for the only picture.
    let submitting = submit(&system.base).args((0..FILES).map(file)).arg(picture("bus.jpg"));
    let submitting = submitting.start();
    submitting.wait_for_line(|line| line.text.starts_with("batch "), TIMEOUT);
    let peak = submitting.peak_kib();
    eprintln!("{peak} KiB at the most for {} KiB of files", FILES as u64 * FILE_BYTES / 1024);
    assert!(peak * 1024 < FILES as u64 * FILE_BYTES / 2, "{peak} KiB");
    let batch: Value = {
        let id = id_in(&submitting.lines().into_iter().map(|line| line.text).collect::<Vec<_>>())
            .to_owned();
        let url = format!("{}/v1/batches/{id}", system.base);
        system.http.get(url).send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(batch["received"], FILES + 1, "{batch}");
    assert_eq!(batch["counts"]["refused"], FILES, "{batch}");
}
