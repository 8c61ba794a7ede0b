//! Answers that are not taken.

use std::time::Duration;

use outbound::{Client, Limits, RequestError, Roots};
use testkit::HttpServer;

use crate::names::{LIMITS, Names, body, client, read_head, rules};

#[tokio::test]
async fn other_answers_than_a_plain_200_are_errors() {
    let unreachable = |text| RequestError::Unreachable(text);
    let no_http = unreachable("its server does not speak HTTP");
    let broken = unreachable("its server broke off the answer");
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
    let cases: [(&str, Vec<u8>, RequestError); 14] = [
        ("404", b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec(), RequestError::Status(404)),
        ("500", b"HTTP/1.1 500 Oops\r\n\r\n".to_vec(), RequestError::Status(500)),
        ("204", b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), RequestError::Status(204)),
        ("206", b"HTTP/1.1 206 Partial\r\n\r\n".to_vec(), RequestError::Status(206)),
        ("304", b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec(), RequestError::Status(304)),
        (
            "gzip",
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\nx".to_vec(),
            RequestError::Encoded,
        ),
        ("nothing", Vec::new(), no_http.clone()),
        ("banner", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), no_http.clone()),
        ("redis", b"-ERR unknown command\r\n".to_vec(), no_http.clone()),
        ("http-0.9", b"<html>".to_vec(), no_http.clone()),
        ("long-header", long.into_bytes(), no_http.clone()),
        ("many-headers", many.into_bytes(), no_http),
        ("too-short", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_vec(), broken.clone()),
        (
            "broken-chunk",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n".to_vec(),
            broken,
        ),
    ];
    let answers = cases.clone();
    let server = HttpServer::start(move |request| {
        let found = answers.iter().find(|(name, ..)| request.path()[1..] == **name);
        found.map(|(_, bytes, _)| bytes.clone())
    });
    let client = client(rules(&[server.port()], "127.0.0.1"), &Names::default());
    for (name, _, expected) in cases {
        let url = format!("http://127.0.0.1:{}/{name}", server.port());
        assert_eq!(body(&client, &url).await.unwrap_err(), expected, "{name}");
    }
}

/// A server that says nothing: each limit of time ends the request.
#[tokio::test]
async fn each_limit_of_time_is_kept() {
    let silent = HttpServer::start(|_| None);
    let short = Duration::from_millis(50);
    let limits = [
        ("header", Limits { header: short, ..LIMITS }),
        ("total", Limits { total: short, ..LIMITS }),
    ];
    for (name, limits) in limits {
        let client = Client::with_resolver(
            rules(&[silent.port()], "127.0.0.1"),
            limits,
            Roots::default(),
            Names::default(),
        );
        let url = format!("http://127.0.0.1:{}/", silent.port());
        assert_eq!(body(&client, &url).await.unwrap_err(), RequestError::TimedOut, "{name}");
        assert_eq!(client.in_progress(), 0, "{name}");
    }
}

/// A header that is there, and a body that never ends.
#[tokio::test]
async fn a_body_must_end_in_time() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf".to_vec();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        read_head(&mut connection).await;
        tokio::io::AsyncWriteExt::write_all(&mut connection, &half).await.unwrap();
        // Until the client gives up.
        read_head(&mut connection).await
    });
    let limits = Limits { total: Duration::from_secs(1), ..LIMITS };
    let client = Client::with_resolver(
        rules(&[port], "127.0.0.1"),
        limits,
        Roots::default(),
        Names::default(),
    );
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(body(&client, &url).await.unwrap_err(), RequestError::TimedOut);
    assert_eq!(server.await.unwrap(), "", "the connection is closed");
}
