//! Clients that close their sending side after their request, and clients that close both sides.

use std::{
    io::Write,
    net::{Shutdown, TcpStream},
};

use testkit::eventually;
use tokio::task::spawn_blocking;

use crate::{
    app::{TEST_TIMEOUT, TestApp},
    http::early_answers::{Content, Early, Framing, ask_and_wait, head, in_chunks},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_its_sending_side_is_answered() {
    let app = TestApp::start().await;
    let picture = Early { path: "/v1/tasks", body: Content::Picture("bus.jpg"), status: 202 };
    let upload = |framing| {
        let body = picture.body.bytes(200_000);
        let body = if framing == Framing::Chunks { in_chunks(&body) } else { body };
        [head(&picture, framing, 200_000).into_bytes(), body].concat()
    };
    let id = app.start_task().await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    let cases = [
        (upload(Framing::Length), 202),
        (upload(Framing::Chunks), 202),
        (get("/health/ready"), 200),
        (get(&format!("/v1/tasks/{id}")), 200),
        (get(&format!("/v1/tasks/{id}?wait=1")), 200),
        (b"GET /health/live HTTP/1.0\r\n\r\n".to_vec(), 200),
        // Half a body.
        (upload(Framing::Length)[..100_000].to_vec(), 400),
        (upload(Framing::Chunks)[..100_000].to_vec(), 400),
    ];
    for (request, status) in cases {
        for _ in 0..5 {
            let (address, request) = (app.address(), request.clone());
            let answer = spawn_blocking(move || {
                ask_and_wait(&address, &request, |stream| {
                    stream.shutdown(Shutdown::Write).unwrap();
                })
            });
            let answer = answer.await.unwrap().unwrap();
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} "))
                    || answer.starts_with(&format!("HTTP/1.0 {status} ")),
                "{status}: {answer}"
            );
        }
    }
    // No connection stays open.
    eventually(TEST_TIMEOUT, async || {
        let open = app.metric("spotter_http_connections{", "").await;
        // The connection of this request, and a kept-alive one.
        open.filter(|open| *open <= 2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_of_a_disconnected_client_is_closed() {
    let app = TestApp::start().await;
    let id = app.start_task().await;
    let request = format!("GET /v1/tasks/{id}?wait=30 HTTP/1.1\r\nHost: x\r\n\r\n");
    let open = async || app.metric("spotter_http_connections{", "").await;
    let streams: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(app.address()).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    eventually(TEST_TIMEOUT, async || open().await.filter(|open| *open > 20)).await;
    drop(streams);
    // Writing the response detects that the client has disconnected.
    app.succeed(id).await;
    // The connection of this request, and a kept-alive one.
    eventually(TEST_TIMEOUT, async || open().await.filter(|open| *open <= 2)).await;
}
