//! `spotter model pull` and `search`, against a hub of the test's own.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use domain::Sha256Digest;
use testkit::{
    HttpRequest, HttpServer, ProcessBuilder, free_port, http_answer, require, workspace_root,
};

use crate::harness::{Ended, spotter};

/// The file's path on the hub.
const PATH: &str = "/somebody/a-detector/resolve/main/model.onnx";

fn weights() -> Vec<u8> {
    fs::read(require(workspace_root().join(".cache/weights/yolov8n.onnx"))).unwrap()
}

/// A folder with a catalogue of one model, `mine`, and the folder of installed models.
struct Folder(tempfile::TempDir);

impl Folder {
    /// The model's file is these bytes.
    fn of(file: &[u8], licence: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = format!(
            "[[model]]\nname = \"mine\"\ntitle = \"Mine\"\nfamily = \"YOLOv8\"\n\
             repository = \"somebody/a-detector\"\nfile = \"model.onnx\"\nbytes = {}\nsha256 = \"{}\"\n\
             licence = \"{licence}\"\nap = 37.3\n",
            file.len(),
            Sha256Digest::of(file)
        );
        fs::write(folder.path().join("catalogue.toml"), catalogue).unwrap();
        Self(folder)
    }

    fn models(&self) -> PathBuf {
        self.0.path().join("models")
    }

    fn command(&self, command: &[&str]) -> ProcessBuilder {
        let command = ["model"].iter().chain(command);
        spotter(command)
            .arg("--catalogue")
            .arg(self.0.path().join("catalogue.toml"))
            .arg("--models-dir")
            .arg(self.models())
    }

    fn pull(&self, hub: &str, options: &[&str]) -> ProcessBuilder {
        self.command(&["pull", "mine", "--mirror", hub]).args(options)
    }

    /// Whether nothing is installed, and no part of a download left.
    fn is_empty(&self) -> bool {
        walk(&self.models()).is_empty()
    }
}

/// All files below a folder.
fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// A hub that sends the file, whatever it is asked for.
fn hub(file: &[u8]) -> HttpServer {
    let answer = http_answer("200 OK", "", file);
    HttpServer::start(move |_| Some(answer.clone()))
}

/// A hub whose first answer breaks off in the middle of the file.
fn unreliable_hub(file: Vec<u8>) -> HttpServer {
    let is_first = AtomicBool::new(true);
    HttpServer::start(move |request| {
        assert_eq!(request.path(), PATH);
        Some(part(request, &file, is_first.swap(false, Ordering::Relaxed)))
    })
}

fn part(request: &HttpRequest, file: &[u8], is_cut: bool) -> Vec<u8> {
    let start: usize = request.header("range").map_or(0, |range| {
        range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap()
    });
    let rest = &file[start..];
    let sent = if is_cut { &rest[..rest.len() / 2] } else { rest };
    let status = if start == 0 { "200 OK" } else { "206 Partial Content" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\n\r\n",
        rest.len(),
        file.len() - 1,
        file.len()
    );
    [head.as_bytes(), sent].concat()
}

#[test]
fn a_model_is_pulled_over_a_connection_that_breaks() {
    let (file, hub) = (weights(), unreliable_hub(weights()));
    let folder = Folder::of(&file, "Apache-2.0");
    let pulled = Ended::of(folder.pull(&hub.origin(), &[]));
    assert_eq!(pulled.code, Some(0), "{pulled:?}");
    assert!(pulled.stdout[0].starts_with("installed mine "), "{pulled:?}");
    assert!(pulled.stderr.join("\n").contains("Apache-2.0"), "{pulled:?}");
    let half = format!("bytes={}-", file.len() / 2);
    let ranges: Vec<_> =
        hub.requests().iter().map(|request| request.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some(half)]);
    assert!(!folder.models().join(".downloads").exists());

    let again = Ended::of(folder.pull(&hub.origin(), &[]));
    assert_eq!((again.code, again.stdout), (Some(0), vec!["mine is installed already".to_owned()]));
    assert_eq!(hub.requests().len(), 2);
    let found = Ended::of(folder.command(&["search", "YOLO"]));
    assert!(found.stdout[0].contains("37.3") && found.stdout[0].contains("installed"), "{found:?}");
}

#[test]
fn a_licence_that_is_not_permissive_is_accepted_first() {
    let file = weights();
    let hub = hub(&file);
    let folder = Folder::of(&file, "AGPL-3.0");
    let refused = Ended::of(folder.pull(&hub.origin(), &[]));
    assert_eq!(refused.code, Some(64), "{refused:?}");
    let output = refused.stderr.join("\n");
    assert!(output.contains("AGPL-3.0") && output.contains("--accept-licence"), "{output}");
    assert!(hub.requests().is_empty());
    assert!(folder.is_empty());
    let accepted = Ended::of(folder.pull(&hub.origin(), &["--accept-licence"]));
    assert_eq!(accepted.code, Some(0), "{accepted:?}");
    assert!(accepted.stdout[0].contains("weights: AGPL-3.0"), "{accepted:?}");
}

#[test]
fn another_file_is_not_installed() {
    let mut file = weights();
    let hub = hub(&file);
    file[1000] ^= 1;
    let folder = Folder::of(&file, "MIT");
    let downloaded = Ended::of(folder.pull(&hub.origin(), &[]));
    assert_eq!(downloaded.code, Some(69), "{downloaded:?}");
    assert!(downloaded.stderr.join("\n").contains("expected a file with sha256"), "{downloaded:?}");
    assert!(folder.is_empty(), "{:?}", walk(&folder.models()));

    let here = workspace_root().join(".cache/weights/yolov8n.onnx");
    let from_file = Ended::of(folder.pull(&hub.origin(), &["--from"]).arg(&here));
    assert_eq!(from_file.code, Some(64), "{from_file:?}");
    assert!(from_file.stderr.join("\n").contains("expected sha256"), "{from_file:?}");
    assert!(folder.is_empty());
}

#[test]
fn a_file_that_was_brought_by_hand_is_installed() {
    let folder = Folder::of(&weights(), "MIT");
    let hub = format!("http://bob:secret@127.0.0.1:{}", free_port());
    let unreachable = Ended::of(folder.pull(&hub, &[]));
    assert_eq!(unreachable.code, Some(69), "{unreachable:?}");
    let output = unreachable.stderr.join("\n");
    assert!(output.contains("spotter model pull mine --from FILE"), "{output}");
    assert!(output.contains(PATH) && !output.contains("secret"), "{output}");
    assert!(!folder.models().join(".downloads").exists());

    let here = workspace_root().join(".cache/weights/yolov8n.onnx");
    let pulled = Ended::of(folder.pull(&hub, &["--from"]).arg(&here));
    assert_eq!(pulled.code, Some(0), "{pulled:?}");
    assert!(here.exists());
}

#[test]
fn the_environment_names_the_proxy_and_the_mirror() {
    let file = weights();
    let proxy = hub(&file);
    let folder = Folder::of(&file, "MIT");
    let pull = folder
        .command(&["pull", "mine"])
        .env("MODEL_MIRROR", "http://hub.invalid")
        .env("HTTP_PROXY", proxy.origin());
    let pulled = Ended::of(pull);
    assert_eq!(pulled.code, Some(0), "{pulled:?}");
    assert_eq!(proxy.requests()[0].path(), format!("http://hub.invalid{PATH}"));
}

#[test]
fn a_model_that_is_not_in_the_catalogue_is_pulled_from_a_url() {
    let file = weights();
    let (hub, digest) = (hub(&file), Sha256Digest::of(&file).to_string());
    let folder = Folder::of(&file, "MIT");
    let unknown = Ended::of(folder.command(&["pull", "other"]));
    assert_eq!(unknown.code, Some(64), "{unknown:?}");
    assert!(unknown.stderr.join("\n").contains("it has: mine"), "{unknown:?}");
    let url = format!("{}/any/path.onnx", hub.origin());
    let pull = |sha256: &str| {
        let options = ["pull", "other", "--from", &url, "--sha256", sha256, "--license", "CC0-1.0"];
        Ended::of(folder.command(&options))
    };
    let wrong = pull(&"0".repeat(64));
    assert_eq!(wrong.code, Some(64), "{wrong:?}");
    assert!(folder.is_empty());
    let right = pull(&digest);
    assert_eq!(right.code, Some(0), "{right:?}");
    assert!(right.stdout[0].contains("weights: CC0-1.0"), "{right:?}");
}
