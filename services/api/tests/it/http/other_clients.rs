//! Early responses as other programs' clients read them: Node's fetch, Python's urllib and http.client, curl,
//! and both of Java's, if they are installed.

#![allow(clippy::print_stderr, reason = "a test's report goes to standard error")]

use std::{fs, io, path::PathBuf, process::Command};

use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::{
    app::TestApp,
    http::early_answers::{Content, Early, LARGE, NO_ROOM, SIZES, stalled_upload},
};

const TIMES: usize = 1;

/// A request to `url`, and the status of its rejection.
#[derive(Clone)]
struct Sent {
    url: String,
    content: Content,
    size: usize,
    status: u16,
}

/// A program that sends requests.
#[derive(Debug, Clone, Copy)]
struct Program {
    name: &'static str,
    /// Its arguments before those that say what to send; a file is one in `tests/clients`.
    arguments: &'static [&'static str],
}

const PROGRAMS: [Program; 7] = [
    Program { name: "node", arguments: &["client.mjs"] },
    Program { name: "python3", arguments: &["client.py", "urllib"] },
    Program { name: "python3", arguments: &["client.py", "http.client"] },
    Program { name: "java", arguments: &["Client.java", "HttpURLConnection"] },
    Program { name: "java", arguments: &["Client.java", "HttpClient"] },
    Program { name: "curl", arguments: &["-H", "Expect:"] },
    Program { name: "curl", arguments: &["-H", "Expect: 100-continue"] },
];

impl Program {
    /// Sends `requests` one after the other, and returns the status or the error of each; `None` if the
    /// program is not installed.
    fn send(self, requests: &[Sent]) -> Option<Vec<String>> {
        let outcome = if self.name == "curl" {
            requests.iter().map(|request| self.send_by_curl(request)).collect()
        } else {
            self.send_by_script(requests)
        };
        match outcome {
            Ok(told) => Some(told),
            Err(error) => {
                eprintln!("SKIPPED: {} cannot be started: {error}", self.name);
                None
            }
        }
    }

    fn send_by_script(self, requests: &[Sent]) -> io::Result<Vec<String>> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let (script, options) = self.arguments.split_first().expect("a script is named");
        let mut command = Command::new(self.name);
        command.arg(folder.join(script)).args(options).arg(testkit::picture("bus.jpg"));
        for Sent { url, content, size, .. } in requests {
            command.args([url, &content.named(), &size.to_string()]);
        }
        let output = command.output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.contains("SKIPPED") || errors.contains("jdk.compiler") {
            // Too old a Node, or Java without its compiler.
            return Err(io::Error::other(errors.into_owned()));
        }
        assert!(output.status.success(), "{self:?}: {errors}");
        let told = String::from_utf8_lossy(&output.stdout);
        Ok(told.lines().map(str::to_owned).collect())
    }

    fn send_by_curl(self, request: &Sent) -> io::Result<String> {
        let folder = TempDir::new().expect("a folder can be made");
        let body = folder.path().join("body");
        fs::write(&body, request.content.bytes(request.size)).expect("the disk has room");
        let output = Command::new(self.name)
            .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--data-binary"])
            .arg(format!("@{}", body.display()))
            .args(["-H", &format!("Content-Type: {}", request.content.media_type())])
            .args(self.arguments)
            .arg(&request.url)
            .output()?;
        let (told, error) = (&output.stdout, &output.stderr);
        let (told, error) = (String::from_utf8_lossy(told), String::from_utf8_lossy(error));
        Ok(if output.status.success() { told.into_owned() } else { format!("{told}: {error}") })
    }
}

impl TestApp {
    /// Sends each of `early` in all sizes with every installed program; each must read its response.
    async fn programs_are_answered(&self, early: &[Early]) {
        let mut requests = Vec::new();
        for Early { path, body, status } in early {
            for size in SIZES {
                let one = Sent { url: self.url(path), content: *body, size, status: *status };
                requests.extend(std::iter::repeat_n(one, TIMES));
            }
        }
        let mut lost = Vec::new();
        for program in PROGRAMS {
            let sent = requests.clone();
            let told = spawn_blocking(move || program.send(&sent)).await.unwrap();
            let Some(told) = told else { continue };
            assert_eq!(told.len(), requests.len(), "{program:?}: {told:?}");
            let all = requests.iter().zip(&told);
            let wrong = all.filter(|(sent, told)| **told != sent.status.to_string());
            let wrong: Vec<_> = wrong
                .map(|(Sent { url, size, status, .. }, told)| {
                    format!("{program:?}: {url}, {size} bytes, {status}: {told}")
                })
                .collect();
            eprintln!(
                "{} {:?}: {} of {} answers were seen",
                program.name,
                program.arguments,
                requests.len() - wrong.len(),
                requests.len()
            );
            lost.extend(wrong);
        }
        assert!(lost.is_empty(), "{} answers were lost: {lost:#?}", lost.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_read_a_rejection_by_the_route() {
    let app = TestApp::start_with(&[LARGE]).await;
    let picture = Content::Picture("a.jpg");
    app.programs_are_answered(&[
        Early { path: "/start_task", body: Content::Picture("a.txt"), status: 400 },
        Early { path: "/v1/tasks", body: Content::Zeros("a.jpg"), status: 400 },
        Early { path: "/v1/tasks", body: Content::Text, status: 415 },
        Early { path: "/nowhere", body: picture, status: 404 },
        Early { path: "/health/live", body: picture, status: 405 },
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_read_that_their_picture_is_too_large() {
    let app = TestApp::start_with(&[("MAX_PICTURE_BYTES", "100000")]).await;
    let picture = Content::Picture("a.jpg");
    app.programs_are_answered(&[Early { path: "/start_task", body: picture, status: 413 }]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_read_that_there_are_too_many_uploads() {
    let app = TestApp::start_with(&[("MAX_CONCURRENT_UPLOADS", "1"), LARGE]).await;
    let _held = stalled_upload(&app).await;
    let picture = Content::Picture("a.jpg");
    app.programs_are_answered(&[Early { path: "/v1/tasks", body: picture, status: 503 }]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_read_that_there_are_too_many_connections() {
    let app = TestApp::start_with(&NO_ROOM).await;
    let _held = tokio::net::TcpStream::connect(app.address()).await.unwrap();
    let picture = Content::Picture("a.jpg");
    app.programs_are_answered(&[Early { path: "/v1/tasks", body: picture, status: 503 }]).await;
}
