//! Clients that send `Expect: 100-continue` are rejected before they send their bodies.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use tokio::task::spawn_blocking;

use crate::{
    app::{TEST_TIMEOUT, TestApp},
    http::early_answers::{
        Content, Early, Framing, ask_and_wait, head, read_answer, stalled_upload,
    },
};

/// A request that withholds its body until `100 Continue`.
fn withheld(early: &Early, size: usize) -> String {
    head(early, Framing::Length, size).replace("\r\n\r\n", "\r\nExpect: 100-Continue\r\n\r\n")
}

/// Announces a body of `size` bytes, and is rejected. No byte of it is sent, so the response cannot have
/// waited for one.
async fn is_rejected_before_it_sends(app: &TestApp, early: Early, size: usize) {
    let (address, head) = (app.address(), withheld(&early, size));
    let answer = spawn_blocking(move || ask_and_wait(&address, head.as_bytes(), |_| ()));
    let answer = answer.await.unwrap().unwrap();
    let Early { path, status, .. } = early;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    // The client may send the body or not, so the server cannot know where the next request begins.
    assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{path}: {answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_expects_continue_is_rejected_before_it_sends() {
    let app = TestApp::start_with(&[("MAX_PICTURE_BYTES", "100000")]).await;
    let picture = Content::Picture("a.jpg");
    let cases = [
        ("/start_task", picture, 413),
        ("/v1/tasks", picture, 413),
        ("/v1/tasks?iou=7", picture, 400),
        ("/nowhere", picture, 404),
        ("/health/live", picture, 405),
    ];
    for (path, body, status) in cases {
        is_rejected_before_it_sends(&app, Early { path, body, status }, 25_000_000).await;
    }
    let text = Early { path: "/v1/tasks", body: Content::Text, status: 415 };
    is_rejected_before_it_sends(&app, text, 90_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_expects_continue_reads_that_it_needs_a_key() {
    let app = TestApp::start_with(&[("AUTH", "keys")]).await;
    for path in ["/start_task", "/v1/tasks"] {
        let early = Early { path, body: Content::Picture("a.jpg"), status: 401 };
        is_rejected_before_it_sends(&app, early, 90_000).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_expects_continue_reads_that_there_are_too_many_uploads() {
    let app = TestApp::start_with(&[("MAX_CONCURRENT_UPLOADS", "1")]).await;
    let _held = stalled_upload(&app).await;
    let early = Early { path: "/v1/tasks", body: Content::Picture("a.jpg"), status: 503 };
    is_rejected_before_it_sends(&app, early, 90_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accepted_client_that_expects_continue_gets_100() {
    let app = TestApp::start().await;
    let body = Content::Picture("bus.jpg").bytes(200_000);
    let early = Early { path: "/v1/tasks", body: Content::Picture("bus.jpg"), status: 202 };
    let (address, head) = (app.address(), withheld(&early, body.len()));
    let answers = spawn_blocking(move || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(TEST_TIMEOUT))?;
        stream.write_all(head.as_bytes())?;
        let mut asked = vec![0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut asked)?;
        stream.write_all(&body)?;
        let answer = read_answer(&mut stream)?;
        io::Result::Ok((String::from_utf8_lossy(&asked).into_owned(), answer))
    });
    let (asked, answer) = answers.await.unwrap().unwrap();
    assert!(asked.starts_with("HTTP/1.1 100 "), "{asked}");
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
}
