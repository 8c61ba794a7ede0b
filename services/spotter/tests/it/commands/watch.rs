//! `spotter watch`.

use std::{fs::OpenOptions, io::Write, process::Command};

use testkit::{Process, eventually};
use tokio::task::spawn_blocking;

use crate::harness::{Ended, System, TIMEOUT, spotter};

/// What a terminal is sent to show a second screen, and to show the first one again.
const TAKEN: &str = "\u{1b}[?1049h";
const RESTORED: &str = "\u{1b}[?1049l";

#[tokio::test]
async fn the_terminal_is_restored_by_a_key_and_by_a_signal() {
    let system = System::start();
    let folder = tempfile::tempdir().unwrap();
    let keyboard = folder.path().join("keyboard");
    assert!(Command::new("mkfifo").arg(&keyboard).status().unwrap().success());
    for end in ["q", "TERM", "HUP"] {
        // `script` gives the command a terminal of its own, whose keys come from a pipe.
        let program = env!("CARGO_BIN_EXE_spotter");
        let watch = format!(
            "stty rows 40 cols 120; echo PID $$; exec {program} watch --api {}",
            system.base
        );
        let command = format!("exec script -qec '{watch}' /dev/null < {}", keyboard.display());
        let process = Process::builder("sh").args(["-c", &command]).start();
        // Open for both, it does not wait for the other side.
        let mut keys = OpenOptions::new().read(true).write(true).open(&keyboard).unwrap();
        let line = process.wait_for_line(|line| line.text.contains("PID "), TIMEOUT).text;
        let id = line.trim().rsplit(' ').next().unwrap().to_owned();
        eventually(TIMEOUT, async || {
            let state = system.v1_get("/v1/operations").await;
            (state["apis"][0]["event_streams"] == 1).then_some(())
        })
        .await;
        if end == "q" {
            keys.write_all(b"q").unwrap();
        } else {
            assert!(Command::new("kill").args(["-s", end, &id]).status().unwrap().success());
        }
        let ended = spawn_blocking(move || Ended::after(process)).await.unwrap();
        assert_eq!(ended.code, Some(0), "{end}: {ended:?}");
        let shown = ended.stdout.join("\n");
        let (taken, restored) = (shown.find(TAKEN), shown.rfind(RESTORED));
        assert!(taken.is_some() && taken < restored, "{end}: {shown:?}");
        assert!(shown.contains("q ends"), "{end}: {shown:?}");
        eventually(TIMEOUT, async || {
            let state = system.v1_get("/v1/operations").await;
            (state["apis"][0]["event_streams"] == 0).then_some(())
        })
        .await;
    }
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let ended = Ended::of(spotter(["watch", "--api", "http://bob:secret@127.0.0.1:9"]));
    assert_eq!((ended.code, ended.stdout.len()), (Some(64), 0), "{ended:?}");
    let said = ended.stderr.join("\n");
    assert!(said.contains("/v1/operations/events`") && !said.contains("secret"), "{said}");
}
