//! Downloads that are resumed, redirected, and not what was expected.

use std::{path::PathBuf, time::Duration};

use client::download::{Download, DownloadError, Expected, Progress};
use domain::Sha256Digest;
use testkit::{HttpRequest, HttpServer};

/// The content of the file.
const CONTENT: &[u8] = b"0123456789abcdef";

fn known() -> Expected {
    Expected::Known { bytes: CONTENT.len() as u64, sha256: Sha256Digest::of(CONTENT) }
}

/// An answer that states `length` bytes of body, and sends these.
fn answer(status: &str, headers: &str, length: usize, body: &[u8]) -> Option<Vec<u8>> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
    Some([head.as_bytes(), body].concat())
}

fn whole(content: &[u8]) -> Option<Vec<u8>> {
    answer("200 OK", "", content.len(), content)
}

/// Sends the range that was asked for, but at most four bytes of it before the connection breaks.
fn four_bytes(request: &HttpRequest) -> Option<Vec<u8>> {
    let start = request.header("range").map_or(0, |range| {
        range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap()
    });
    let rest = &CONTENT[start..];
    let sent = &rest[..rest.len().min(4)];
    if start == 0 {
        return answer("200 OK", "", rest.len(), sent);
    }
    let range = format!("Content-Range: bytes {start}-15/16\r\n");
    answer("206 Partial Content", &range, rest.len(), sent)
}

/// A folder with the file that is downloaded.
struct Target {
    folder: tempfile::TempDir,
}

impl Target {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    fn content(&self) -> Option<Vec<u8>> {
        std::fs::read(self.path()).ok()
    }

    async fn download(&self, url: &str, expected: Expected) -> Result<Vec<u64>, DownloadError> {
        let path = self.path();
        let download = Download { url, path: &path, expected, pause: Duration::from_millis(1) };
        let mut steps = Vec::new();
        download.run(|Progress { done, .. }| steps.push(done)).await?;
        Ok(steps)
    }
}

#[tokio::test]
async fn a_download_that_breaks_off_is_continued() {
    let server = HttpServer::start(four_bytes);
    let target = Target::new();
    let steps = target.download(&server.origin(), known()).await.unwrap();
    assert_eq!(target.content().unwrap(), CONTENT);
    assert!(steps.is_sorted() && steps.last() == Some(&16), "{steps:?}");
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.header("range").map(str::to_owned))
        .collect();
    let expected = [None, Some("bytes=4-"), Some("bytes=8-"), Some("bytes=12-")];
    assert_eq!(ranges, expected.map(|range| range.map(str::to_owned)));
}

#[tokio::test]
async fn what_an_earlier_run_left_is_continued_too() {
    let server = HttpServer::start(four_bytes);
    let target = Target::new();
    std::fs::write(target.path(), &CONTENT[..12]).unwrap();
    target.download(&server.origin(), known()).await.unwrap();
    assert_eq!(target.content().unwrap(), CONTENT);
    assert_eq!(server.requests().len(), 1);
    // A whole one is only checked.
    target.download(&server.origin(), known()).await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_server_without_ranges_sends_it_from_the_beginning() {
    let server = HttpServer::start(|_| whole(CONTENT));
    let target = Target::new();
    std::fs::write(target.path(), &CONTENT[..12]).unwrap();
    target.download(&server.origin(), known()).await.unwrap();
    assert_eq!(target.content().unwrap(), CONTENT);
}

#[tokio::test]
async fn a_server_that_is_down_keeps_what_is_there() {
    let server = HttpServer::start(|_| answer("503 Service Unavailable", "", 0, b""));
    let target = Target::new();
    std::fs::write(target.path(), &CONTENT[..12]).unwrap();
    let error = target.download(&server.origin(), known()).await.unwrap_err();
    assert!(
        matches!(&error, DownloadError::Interrupted { kept: 12, reason } if reason.contains("503")),
        "{error:?}"
    );
    assert_eq!(server.requests().len(), 4);
    assert_eq!(target.content().unwrap(), &CONTENT[..12]);
}

#[tokio::test]
async fn another_file_than_expected_is_not_kept() {
    let cases = [
        ("0123456789ABCDEF", "expected a file with sha256"),
        ("0123456789abcdefg", "expected 16 bytes, found 17"),
        ("", "ended after 0 of 16 bytes"),
    ];
    for (content, expected) in cases {
        let server = HttpServer::start(move |_| whole(content.as_bytes()));
        let target = Target::new();
        let error = target.download(&server.origin(), known()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(target.content().is_none_or(|content| content.is_empty()));
    }
}

#[tokio::test]
async fn a_file_of_unknown_size_has_a_limit_and_begins_anew() {
    let server = HttpServer::start(|_| whole(CONTENT));
    let target = Target::new();
    std::fs::write(target.path(), b"something else").unwrap();
    target.download(&server.origin(), Expected::AtMost(16)).await.unwrap();
    assert_eq!(target.content().unwrap(), CONTENT);
    assert_eq!(server.requests()[0].header("range"), None);
    let error = target.download(&server.origin(), Expected::AtMost(15)).await.unwrap_err();
    assert!(matches!(error, DownloadError::WrongSize { expected: 15, found: 16 }), "{error:?}");
}

#[tokio::test]
async fn redirects_are_followed_and_refusals_are_final() {
    let file = HttpServer::start(|_| whole(CONTENT));
    let to = format!("Location: {}/elsewhere\r\n", file.origin());
    let hub = HttpServer::start(move |request| match request.path() {
        "/file" => answer("302 Found", &to, 0, b""),
        _ => answer("404 Not Found", "", 0, b""),
    });
    let target = Target::new();
    target.download(&format!("{}/file", hub.origin()), known()).await.unwrap();
    assert_eq!(target.content().unwrap(), CONTENT);
    assert_eq!(file.requests()[0].path(), "/elsewhere");

    let target = Target::new();
    let error = target.download(&format!("{}/none", hub.origin()), known()).await.unwrap_err();
    assert!(matches!(&error, DownloadError::Refused(status) if *status == 404), "{error:?}");
    let error = target.download("no url", known()).await.unwrap_err();
    assert!(matches!(error, DownloadError::NotSent(_)), "{error:?}");
}
