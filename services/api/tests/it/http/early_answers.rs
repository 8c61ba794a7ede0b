//! Clients that write their whole request before they read: a response that is sent before the request has
//! arrived is not lost.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use reqwest::StatusCode;
use testkit::eventually;
use tokio::task::spawn_blocking;

use crate::app::{TEST_TIMEOUT, TestApp, bus_bytes, bus_form};

/// Sizes of bodies, in bytes: beyond one socket buffer, beyond two, and beyond all.
pub(crate) const SIZES: [usize; 3] = [200_000, 5_000_000, 25_000_000];
/// How often each request is sent.
const TIMES: usize = 3;
/// How many bytes of a body are sent before the client checks for a response.
const OPENING: usize = 150_000;
const BOUNDARY: &str = "early-answers";

/// Larger than the largest of them.
pub(crate) const LARGE: (&str, &str) = ("MAX_PICTURE_BYTES", "30000000");
/// For one connection, which may be idle for as long as it likes.
pub(crate) const NO_ROOM: [(&str, &str); 2] =
    [("MAX_CONNECTIONS", "1"), ("HEADER_TIMEOUT_SECONDS", "600")];

/// How often a request is sent until its response comes before its body was read, and how long the client
/// waits for the response each time.
#[derive(Clone, Copy)]
struct Attempts {
    count: usize,
    timeout: Duration,
}

impl Attempts {
    const ONE: Self = Self { count: 1, timeout: TEST_TIMEOUT };
    /// A queue counts as full for a second only, and a later request is read to its end.
    const FOR_A_FULL_QUEUE: Self = Self { count: 5, timeout: Duration::from_secs(5) };
}

/// A request that is answered before it was read.
#[derive(Clone)]
pub(crate) struct Early {
    pub(crate) path: &'static str,
    pub(crate) body: Content,
    pub(crate) status: u16,
}

/// What a body consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A form with a picture under this file name.
    Picture(&'static str),
    /// A form with zeros under this file name.
    Zeros(&'static str),
    /// Plain text, which no route accepts.
    Text,
}

impl Content {
    /// The argument for the scripts in `tests/clients`.
    pub(crate) fn named(self) -> String {
        match self {
            Self::Picture(name) => format!("picture:{name}"),
            Self::Zeros(name) => format!("zeros:{name}"),
            Self::Text => "text".to_owned(),
        }
    }

    pub(crate) fn media_type(self) -> String {
        match self {
            Self::Picture(_) | Self::Zeros(_) => {
                format!("multipart/form-data; boundary={BOUNDARY}")
            }
            Self::Text => "text/plain".to_owned(),
        }
    }

    /// A body of `size` bytes.
    pub(crate) fn bytes(self, size: usize) -> Vec<u8> {
        let (name, start) = match self {
            Self::Picture(name) => (name, bus_bytes()),
            Self::Zeros(name) => (name, Vec::new()),
            Self::Text => return vec![b' '; size],
        };
        let end = format!("\r\n--{BOUNDARY}--\r\n");
        let mut body = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n"
        )
        .into_bytes();
        body.extend(start);
        body.resize(size - end.len(), 0);
        body.extend(end.into_bytes());
        body
    }
}

/// How a request frames its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunks,
}

/// Sends the first bytes of a request, waits up to `timeout` for the response, sends the rest and only then
/// reads. `None`: there was no response before the rest.
///
/// # Errors
/// If a write fails, where a client would give up.
fn write_first(
    address: &str,
    opening: &[u8],
    rest: &[u8],
    timeout: Duration,
) -> io::Result<Option<String>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(TEST_TIMEOUT))?;
    stream.write_all(opening)?;
    match stream.peek(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        outcome => outcome?,
    };
    stream.set_read_timeout(Some(TEST_TIMEOUT))?;
    for piece in rest.chunks(16 * 1024) {
        stream.write_all(piece)?;
    }
    read_answer(&mut stream).map(Some)
}

/// Reads one response with its body, and nothing of a response that follows it.
pub(crate) fn read_answer(stream: &mut TcpStream) -> io::Result<String> {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        // Byte by byte: the next response may have arrived, too.
        if stream.take(1).read_to_end(&mut answer)? == 0 {
            return Ok(String::from_utf8_lossy(&answer).into_owned());
        }
    }
    let head = String::from_utf8_lossy(&answer).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(u64::MAX, |length| length.trim().parse().unwrap());
    stream.take(length).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

pub(crate) fn head(early: &Early, framing: Framing, size: usize) -> String {
    let (path, media_type) = (early.path, early.body.media_type());
    let framing = match framing {
        Framing::Length => format!("Content-Length: {size}"),
        Framing::Chunks => "Transfer-Encoding: chunked".to_owned(),
    };
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media_type}\r\n{framing}\r\n\r\n")
}

pub(crate) fn in_chunks(body: &[u8]) -> Vec<u8> {
    let mut chunked = Vec::with_capacity(body.len() + body.len() / 500);
    for chunk in body.chunks(32_000) {
        chunked.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    chunked
}

impl TestApp {
    pub(crate) fn address(&self) -> String {
        self.url("").trim_start_matches("http://").to_owned()
    }

    /// Sends `early` repeatedly, in each size and framing; each response must be readable.
    async fn answers_early(&self, early: &Early) {
        self.answers_early_to(early, TIMES, Attempts::ONE, || async {}).await;
    }

    /// The response to `request` before its body was read; `None` if it came in none of the attempts.
    async fn answer_early_to<F: Future<Output = ()>>(
        &self,
        request: &Arc<Vec<u8>>,
        attempts: Attempts,
        prepare: impl Fn() -> F,
    ) -> io::Result<Option<String>> {
        for _ in 0..attempts.count {
            prepare().await;
            let (address, request) = (self.address(), Arc::clone(request));
            let outcome = spawn_blocking(move || {
                let (opening, rest) = request.split_at(OPENING);
                write_first(&address, opening, rest, attempts.timeout)
            });
            if let Some(answer) = outcome.await.unwrap()? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    async fn answers_early_to<F: Future<Output = ()>>(
        &self,
        early: &Early,
        times: usize,
        attempts: Attempts,
        prepare: impl Fn() -> F,
    ) {
        let mut lost = Vec::new();
        for size in SIZES {
            for framing in [Framing::Length, Framing::Chunks] {
                let mut request = head(early, framing, size).into_bytes();
                let body = early.body.bytes(size);
                request.extend(match framing {
                    Framing::Length => body,
                    Framing::Chunks => in_chunks(&body),
                });
                let request = Arc::new(request);
                for _ in 0..times {
                    let expected = format!("HTTP/1.1 {} ", early.status);
                    match self.answer_early_to(&request, attempts, &prepare).await {
                        Ok(Some(answer)) if answer.starts_with(&expected) => {}
                        other => lost.push(format!("{size} bytes, {framing:?}: {other:?}")),
                    }
                }
            }
        }
        let sent = SIZES.len() * 2 * times;
        let (path, status) = (early.path, early.status);
        assert!(
            lost.is_empty(),
            "{} of {sent} answers were lost to POST {path} ({status}): {lost:#?}",
            lost.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_by_the_route_is_readable() {
    let app = TestApp::start_with(&[LARGE]).await;
    let cases = [
        ("/start_task", Content::Picture("a.txt"), 400),
        ("/start_task", Content::Zeros("a.jpg"), 400),
        ("/v1/tasks", Content::Zeros("a.jpg"), 400),
        ("/v1/tasks?confidence=7", Content::Picture("a.jpg"), 400),
        ("/start_task", Content::Text, 400),
        ("/v1/tasks", Content::Text, 415),
        ("/nowhere", Content::Picture("a.jpg"), 404),
        ("/health/live", Content::Picture("a.jpg"), 405),
    ];
    for (path, body, status) in cases {
        app.answers_early(&Early { path, body, status }).await;
    }
    // All of them were read to their end, so no connection was closed.
    let cut = app.metric("spotter_http_connections_cut_total", "unread_body").await;
    assert_eq!(cut, Some(0));
    // None of them holds a slot.
    assert_eq!(app.metric("spotter_uploads_in_memory", "").await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_for_want_of_a_key_is_readable() {
    let app = TestApp::start_with(&[LARGE, ("AUTH", "keys")]).await;
    for path in ["/start_task", "/v1/tasks", "/nowhere"] {
        let early = Early { path, body: Content::Picture("a.jpg"), status: 401 };
        app.answers_early(&early).await;
    }
    assert_eq!(app.metric("spotter_uploads_in_memory", "").await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_of_too_many_bytes_is_readable() {
    let app = TestApp::start_with(&[("MAX_PICTURE_BYTES", "100000")]).await;
    for path in ["/start_task", "/v1/tasks"] {
        let picture = Content::Picture("a.jpg");
        app.answers_early(&Early { path, body: picture, status: 413 }).await;
    }
}

/// An upload that has started, holds a slot and stalls. Enough of it has arrived to be above the minimum
/// rate.
pub(crate) async fn stalled_upload(app: &TestApp) -> TcpStream {
    let mut stream = TcpStream::connect(app.address()).unwrap();
    let early = Early { path: "/v1/tasks", body: Content::Picture("a.jpg"), status: 0 };
    let request = head(&early, Framing::Length, 200_000);
    stream.write_all(request.as_bytes()).unwrap();
    stream.write_all(&early.body.bytes(200_000)[..190_000]).unwrap();
    eventually(TEST_TIMEOUT, async || {
        app.metric("spotter_uploads_in_memory", "").await.filter(|held| *held == 1)
    })
    .await;
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_of_too_many_uploads_is_readable() {
    let app = TestApp::start_with(&[("MAX_CONCURRENT_UPLOADS", "1"), LARGE]).await;
    let _held = stalled_upload(&app).await;
    app.answers_early(&Early { path: "/v1/tasks", body: Content::Picture("a.jpg"), status: 503 })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_for_a_full_queue_is_readable() {
    let app = TestApp::start_with(&[("QUEUE_MAX_MESSAGES", "1"), LARGE]).await;
    app.start_task().await;
    let early = Early { path: "/start_task", body: Content::Picture("a.jpg"), status: 503 };
    let fill = || async {
        let answer = app.post("/start_task", bus_form()).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    };
    app.answers_early_to(&early, TIMES, Attempts::FOR_A_FULL_QUEUE, fill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_of_a_slow_upload_is_readable() {
    let app = TestApp::start_with(&[("UPLOAD_TIMEOUT_SECONDS", "1"), LARGE]).await;
    app.answers_early_to(
        &Early { path: "/v1/tasks", body: Content::Picture("a.jpg"), status: 408 },
        1,
        Attempts::ONE,
        || async {},
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_of_the_connection_is_readable() {
    let app = TestApp::start_with(&NO_ROOM).await;
    let _held = TcpStream::connect(app.address()).unwrap();
    app.answers_early(&Early { path: "/v1/tasks", body: Content::Picture("a.jpg"), status: 503 })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_of_the_header_is_readable() {
    let app = TestApp::start().await;
    let long = format!("x-long: {}\r\n", "x".repeat(17 * 1024));
    for (line, status) in [(long.as_str(), 431), ("no header\r\n", 400), ("x: \u{1}\r\n", 400)] {
        for size in SIZES {
            let head = format!(
                "POST /v1/tasks HTTP/1.1\r\nHost: x\r\n{line}Content-Length: {size}\r\n\r\n"
            );
            let (address, body) = (app.address(), vec![0; size]);
            let answer =
                spawn_blocking(move || write_first(&address, head.as_bytes(), &body, TEST_TIMEOUT));
            let answer = answer.await.unwrap();
            let answer = answer.unwrap_or_else(|error| panic!("{status}, {size} bytes: {error}"));
            let answer = answer.expect("there is a response before the body has arrived");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        }
    }
}

/// Sends `request` and reads until the server closes the connection.
pub(crate) fn ask_and_wait(
    address: &str,
    request: &[u8],
    then: impl FnOnce(&TcpStream),
) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TEST_TIMEOUT))?;
    stream.write_all(request)?;
    then(&stream);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The first `count` responses to a client that sends `opening`, waits for a response, sends `rest` and then
/// reads.
async fn pipelined(app: &TestApp, opening: Vec<u8>, rest: Vec<u8>, count: usize) -> Vec<String> {
    let address = app.address();
    let answers = spawn_blocking(move || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(TEST_TIMEOUT))?;
        stream.write_all(&opening)?;
        stream.peek(&mut [0])?;
        stream.write_all(&rest)?;
        (0..count).map(|_| read_answer(&mut stream)).collect::<io::Result<Vec<_>>>()
    });
    answers.await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_kept_after_an_early_response() {
    let app = TestApp::start().await;
    let early = Early { path: "/nowhere", body: Content::Zeros("a.jpg"), status: 404 };
    for framing in [Framing::Length, Framing::Chunks] {
        let opening = head(&early, framing, 5_000_000).into_bytes();
        let body = early.body.bytes(5_000_000);
        let mut rest = if framing == Framing::Chunks { in_chunks(&body) } else { body };
        rest.extend(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
        let answers = pipelined(&app, opening, rest, 2).await;
        assert!(answers[0].starts_with("HTTP/1.1 404 "), "{answers:?}");
        assert!(!answers[0].to_lowercase().contains("connection: close"), "{answers:?}");
        assert!(answers[1].starts_with("HTTP/1.1 200 "), "{framing:?}: {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_idle_once_its_unread_body_has_arrived() {
    let app = TestApp::start_with(&[("KEEP_ALIVE_SECONDS", "1")]).await;
    let early = Early { path: "/nowhere", body: Content::Zeros("a.jpg"), status: 404 };
    let mut clients = Vec::new();
    for (framing, size) in [Framing::Length, Framing::Chunks]
        .into_iter()
        .flat_map(|framing| [1_000, 200_000, 5_000_000].map(|size| (framing, size)))
    {
        let mut request = head(&early, framing, size).into_bytes();
        let after_head = request.len();
        let body = early.body.bytes(size);
        request.extend(if framing == Framing::Chunks { in_chunks(&body) } else { body });
        // The body arrives with its header, or after the response.
        for opening in [request.len(), after_head] {
            let (address, request) = (app.address(), request.clone());
            clients.push(spawn_blocking(move || {
                let rest = request[opening..].to_vec();
                ask_and_wait(&address, &request[..opening], move |mut stream| {
                    stream.peek(&mut [0]).unwrap();
                    stream.write_all(&rest).unwrap();
                })
            }));
        }
    }
    for client in clients {
        let answer = client.await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
    // The server closed them as idle connections, and not because their bodies were late.
    let cut = app.metric("spotter_http_connections_cut_total", "unread_body").await;
    assert_eq!(cut, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_with_special_headers_read_early_responses_too() {
    let app = TestApp::start().await;
    let length = 5_000_000;
    for (habit, line) in [
        // Java's client sends it with each request.
        (
            "offers HTTP/2",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n",
        ),
        ("hangs up afterwards", "Connection: close\r\n"),
        // As curl does after a second without a response.
        ("asks and does not wait", "Expect: 100-continue\r\n"),
    ] {
        for version in ["1.0", "1.1"] {
            let head = format!(
                "POST /nowhere HTTP/{version}\r\nHost: x\r\n{line}Content-Length: {length}\r\n\r\n"
            );
            let answers = pipelined(&app, head.into_bytes(), vec![0; length], 1).await;
            assert!(
                answers[0].starts_with(&format!("HTTP/{version} 404 ")),
                "{habit}: {answers:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_with_broken_framing_is_rejected_readably() {
    let app = TestApp::start().await;
    let picture = Early { path: "/v1/tasks", body: Content::Picture("a.jpg"), status: 400 };
    let mut opening = head(&picture, Framing::Chunks, 0).into_bytes();
    opening.extend(in_chunks(&picture.body.bytes(200_000))[..100_000].iter());
    // Framing is only checked between chunks, so the next one has to start.
    opening.extend(vec![b'z'; 100_000]);
    let answers = pipelined(&app, opening, vec![b'z'; 5_000_000], 1).await;
    assert!(answers[0].starts_with("HTTP/1.1 400 "), "{answers:?}");
    assert!(answers[0].to_lowercase().contains("connection: close"), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stalls_after_its_response_is_disconnected() {
    let app = TestApp::start().await;
    let early = Early { path: "/nowhere", body: Content::Zeros("a.jpg"), status: 404 };
    let (address, request) = (app.address(), head(&early, Framing::Length, 5_000_000));
    let told = spawn_blocking(move || ask_and_wait(&address, request.as_bytes(), |_| ()));
    let told = told.await.unwrap().unwrap();
    assert!(told.starts_with("HTTP/1.1 404 "), "{told}");
    let cut = app.metric("spotter_http_connections_cut_total", "unread_body").await;
    assert_eq!(cut, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_does_not_wait_for_discarded_bodies() {
    let app = TestApp::start_with(&[("SHUTDOWN_GRACE_SECONDS", "600")]).await;
    let early = Early { path: "/nowhere", body: Content::Zeros("a.jpg"), status: 404 };
    let (address, request) = (app.address(), head(&early, Framing::Length, 1_000_000_000));
    let (answered, is_answered) = tokio::sync::oneshot::channel();
    let client = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.peek(&mut [0]).unwrap();
        answered.send(()).unwrap();
        // The client never stops: only the server can close this.
        while stream.write_all(&[0; 1000]).is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    });
    is_answered.await.unwrap();
    app.stop();
    app.stopped().await;
    spawn_blocking(move || client.join().unwrap()).await.unwrap();
}
