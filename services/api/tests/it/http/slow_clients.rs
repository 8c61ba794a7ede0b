//! A thousand slow clients, and normal ones beside them.

use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use domain::TaskId;
use reqwest::{
    Client, StatusCode,
    multipart::{Form, Part},
};
use testkit::{NatsServer, Process, RedisServer, eventually, free_address};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::app::{TEST_TIMEOUT, TestApp, bus_bytes, bus_form, error_text, json};

/// Of each kind; there are four.
const EACH: usize = 250;
/// The timeouts of the server in the test that slow clients are disconnected.
const DEADLINE_SECONDS: &str = "5";
/// The timeouts in the test that they stay: longer than the test.
const NO_DEADLINE_SECONDS: &str = "600";
/// The timeout of the test for a client that is not disconnected.
pub(super) const HANG_TIMEOUT: Duration = Duration::from_secs(240);
/// The pause between two writes of slow senders: a byte of a header, or enough of a body to stay just above
/// the minimum rate of uploads.
const DRIP_EVERY: Duration = Duration::from_millis(500);
const DROP_BYTES: usize = 1024;
const STATUS_REQUESTS: usize = 500;

/// The API's own program, with servers of its own.
pub(super) struct ApiProcess {
    pub(super) process: Process,
    address: String,
    pub(super) client: Client,
    pub(super) nats: NatsServer,
    _redis: RedisServer,
}

impl ApiProcess {
    pub(super) fn start(settings: &[(&str, &str)]) -> Self {
        let (nats, redis) = (NatsServer::start(), RedisServer::start());
        let mut api = Process::builder(env!("CARGO_BIN_EXE_spotter-api"))
            .env("PORT", "0")
            .env("LOG_FORMAT", "json")
            .env("NATS_URL", nats.url())
            .env("REDIS_URL", redis.url());
        for (name, value) in settings {
            api = api.env(name, value);
        }
        let process = api.start();
        let line = process.wait_for_line(|line| line.text.contains("API listening"), TEST_TIMEOUT);
        let address = line.json().unwrap()["address"].as_str().unwrap().to_owned();
        let client = testkit::http_client(TEST_TIMEOUT);
        Self { process, address, client, nats, _redis: redis }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A client's connection with a very small receive buffer.
    pub(super) async fn connect(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(self.address.parse().unwrap()).await.expect("the API accepts")
    }

    /// Open file descriptors of the process, including connections.
    pub(super) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    pub(super) async fn start_task(&self) -> TaskId {
        let request = self.client.post(self.url("/start_task")).multipart(bus_form());
        let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
        answer["task_id"].as_str().unwrap().parse().unwrap()
    }

    /// Sends [`STATUS_REQUESTS`] from four clients at once; all are answered. A 503 is sent again: on a busy machine,
    /// reading a record may time out while the API writes to a thousand clients.
    pub(super) async fn send_status_requests(&self, id: TaskId) {
        let mut clients = JoinSet::new();
        for _ in 0..4 {
            let (client, url) = (self.client.clone(), self.url(&format!("/v1/tasks/{id}")));
            clients.spawn(async move {
                for _ in 0..STATUS_REQUESTS / 4 {
                    eventually(TEST_TIMEOUT, async || {
                        let answer = client.get(&url).send().await.unwrap();
                        let status = answer.status();
                        answer.bytes().await.unwrap();
                        assert!(matches!(status.as_u16(), 200 | 503), "{status}");
                        (status == StatusCode::OK).then_some(())
                    })
                    .await;
                }
            });
        }
        clients.join_all().await;
    }

    /// Opens [`EACH`] connections of each kind that misbehave, and counts in `ended` those that ended.
    async fn misbehave(&self, ended: &Arc<AtomicUsize>) -> JoinSet<(Slow, Vec<u8>)> {
        let mut slow = JoinSet::new();
        for number in 0..EACH {
            let body = Body::ALL[number % Body::ALL.len()];
            let kinds =
                [Slow::SaysNothing, Slow::DripsHeader, Slow::DripsBody(body), Slow::NeverReads];
            for how in kinds {
                let (stream, ended) = (self.connect().await, Arc::clone(ended));
                slow.spawn(async move {
                    let told = misbehave(how, stream).await;
                    ended.fetch_add(1, Ordering::Relaxed);
                    (how, told)
                });
            }
        }
        slow
    }
}

/// What a slow client does with its connection.
#[derive(Debug, Clone, Copy)]
enum Slow {
    SaysNothing,
    DripsHeader,
    DripsBody(Body),
    NeverReads,
}

/// The body of a submission.
#[derive(Debug, Clone, Copy)]
enum Body {
    Form,
    Picture,
    Json,
}

impl Body {
    const ALL: [Self; 3] = [Self::Form, Self::Picture, Self::Json];

    /// The header of a request with this body, and the beginning of the body.
    fn opening(self) -> String {
        let (path, media_type, beginning) = match self {
            Self::Form => (
                "/start_task",
                "multipart/form-data; boundary=X",
                "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\n",
            ),
            Self::Picture => ("/v1/tasks", "image/jpeg", ""),
            Self::Json => ("/v1/tasks", "application/json", "{\"image\": \""),
        };
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nContent-Type: {media_type}\r\n\r\n{beginning}"
        )
    }

    /// What is sent after that, slowly.
    fn rest(self) -> Vec<u8> {
        match self {
            Self::Form | Self::Picture => bus_bytes(),
            Self::Json => vec![b'A'; 100_000],
        }
    }
}

/// Is slow until the server closes the connection; returns what it has received by then.
async fn misbehave(how: Slow, mut stream: TcpStream) -> Vec<u8> {
    let opening = match how {
        Slow::SaysNothing => String::new(),
        Slow::DripsHeader => "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ".to_owned(),
        Slow::DripsBody(body) => body.opening(),
        // Far more than all buffers in between hold.
        Slow::NeverReads => "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(300),
    };
    let _ = stream.write_all(opening.as_bytes()).await;
    if matches!(how, Slow::NeverReads) {
        // Nothing is read, so only an error shows that the connection is closed.
        let _ = stream.ready(tokio::io::Interest::ERROR).await;
        return Vec::new();
    }
    let (mut reader, mut writer) = stream.split();
    let mut told = Vec::new();
    let read = reader.read_to_end(&mut told);
    let drip = async {
        let rest = match how {
            Slow::DripsHeader => vec![b'a'; 10_000],
            Slow::DripsBody(body) => body.rest(),
            Slow::SaysNothing | Slow::NeverReads => Vec::new(),
        };
        let drop = if matches!(how, Slow::DripsBody(_)) { DROP_BYTES } else { 1 };
        for drop in rest.chunks(drop) {
            sleep(DRIP_EVERY).await;
            if writer.write_all(drop).await.is_err() {
                break;
            }
        }
        // The reading side reports how it ended.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = read => {}
        () = drip => {}
    }
    told
}

/// An API with the given timeouts, or `None` if this process may not open a file descriptor for each of the
/// slow clients.
fn api_for_slow_clients(deadline_seconds: &str) -> Option<ApiProcess> {
    let files = 4 * EACH + 100;
    if service::lifecycle::open_files::raise_limit() < files {
        eprintln!("SKIPPED: this process may not open {files} files (ulimit -Hn)");
        return None;
    }
    Some(ApiProcess::start(&[
        ("HEADER_TIMEOUT_SECONDS", deadline_seconds),
        ("ANSWER_TIMEOUT_SECONDS", deadline_seconds),
        ("UPLOAD_TIMEOUT_SECONDS", deadline_seconds),
        // Slots for all slow uploads, of which those in JSON take several, and one more; otherwise most of them would
        // be rejected immediately.
        ("MAX_CONCURRENT_UPLOADS", "800"),
    ]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_clients_do_not_delay_others() {
    let Some(api) = api_for_slow_clients(NO_DEADLINE_SECONDS) else { return };
    let id = api.start_task().await;
    let before = api.open_files();
    let ended = Arc::new(AtomicUsize::new(0));
    let mut slow = api.misbehave(&ended).await;
    eventually(TEST_TIMEOUT, async || (api.open_files() >= before + 4 * EACH).then_some(())).await;

    // Others do not wait for the slow clients, whose timeout is ten minutes.
    api.send_status_requests(id).await;
    api.start_task().await;
    assert_eq!(
        ended.load(Ordering::Relaxed),
        0,
        "slow clients have been disconnected: this proves nothing"
    );

    // They leave no open file descriptors behind.
    slow.shutdown().await;
    eventually(TEST_TIMEOUT, async || (api.open_files() <= before + 8).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_clients_are_disconnected() {
    let Some(api) = api_for_slow_clients(DEADLINE_SECONDS) else { return };
    let before = api.open_files();
    let mut slow = api.misbehave(&Arc::default()).await;
    let mut all = Vec::new();
    let cut = timeout(HANG_TIMEOUT, async {
        while let Some(one) = slow.join_next().await {
            all.push(one.unwrap());
        }
    });
    if cut.await.is_err() {
        let count = |what: fn(&Slow) -> bool| all.iter().filter(|(how, _)| what(how)).count();
        panic!(
            "{} are still connected after {HANG_TIMEOUT:?}; gone are {} who said nothing, {} who dripped a \
             header, {} who dripped a body, {} who never read",
            slow.len(),
            count(|how| matches!(how, Slow::SaysNothing)),
            count(|how| matches!(how, Slow::DripsHeader)),
            count(|how| matches!(how, Slow::DripsBody(_))),
            count(|how| matches!(how, Slow::NeverReads)),
        );
    }
    for (how, told) in &all {
        let told = String::from_utf8_lossy(told);
        let expected = matches!(how, Slow::DripsBody(_));
        assert_eq!(told.starts_with("HTTP/1.1 408 "), expected, "{how:?}: {told}");
    }
    eventually(TEST_TIMEOUT, async || (api.open_files() <= before + 8).then_some(())).await;
}

#[tokio::test]
async fn an_upload_below_the_minimum_rate_is_aborted_before_its_timeout() {
    // Its timeout is ten minutes.
    let settings =
        [("MAX_CONCURRENT_UPLOADS", "1"), ("UPLOAD_TIMEOUT_SECONDS", NO_DEADLINE_SECONDS)];
    let app = TestApp::start_with(&settings).await;
    let mut bytes = bus_bytes().into_iter();
    let drops = futures_util::stream::unfold((), move |()| {
        let next = bytes.next();
        async move {
            sleep(Duration::from_millis(200)).await;
            next.map(|byte| (Ok::<_, io::Error>(vec![byte]), ()))
        }
    });
    let part = Part::stream(reqwest::Body::wrap_stream(drops)).file_name("bus.jpg");
    let answer = app.post("/v1/tasks", Form::new().part("file", part)).await;
    let (status, body) = json(answer).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT, "{body}");
    assert!(error_text(&body).contains("1024 bytes a second"), "{body}");
    assert_eq!(app.post("/v1/tasks", bus_form()).await.status(), StatusCode::ACCEPTED);
}

/// Everything that the server sends in response to `request` until it closes the connection.
async fn ask(app: &TestApp, request: &[u8]) -> io::Result<String> {
    let address = app.url("").trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    timeout(TEST_TIMEOUT, stream.read_to_end(&mut answer))
        .await
        .expect("the server closes the connection")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn a_header_that_is_too_large_is_rejected() {
    let app = TestApp::start().await;
    let with_header = |bytes: usize| {
        let value = "x".repeat(bytes);
        format!(
            "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: {value}\r\n\r\n"
        )
    };
    let fits = ask(&app, with_header(15 * 1024).as_bytes()).await.unwrap();
    assert!(fits.starts_with("HTTP/1.1 200 "), "{fits}");
    let refused = ask(&app, with_header(17 * 1024).as_bytes()).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let many = format!("GET /health/live HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    let refused = ask(&app, many.as_bytes()).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
}

#[tokio::test]
async fn http_2_is_not_supported() {
    let app = TestApp::start().await;
    let answer = ask(&app, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(answer.is_err() || !answer.unwrap().starts_with('\0'), "it answered with frames");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_timeout() {
    let app = TestApp::start_with(&[("KEEP_ALIVE_SECONDS", "1")]).await;
    let started = Instant::now();
    let answer = ask(&app, b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let kept = started.elapsed();
    assert!(kept >= Duration::from_secs(1), "it was closed after {kept:?}");
}

#[tokio::test]
async fn one_connection_too_many_gets_a_503() {
    let probes = free_address();
    let app = TestApp::start_with(&[("MAX_CONNECTIONS", "2"), ("PROBES_ADDRESS", &probes)]).await;
    let address = app.url("").trim_start_matches("http://").to_owned();
    let first = TcpStream::connect(&address).await.unwrap();
    let _second = TcpStream::connect(&address).await.unwrap();
    let refused = ask(&app, b"").await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("retry-after: 5"), "{refused}");
    // Probes still find that the process is healthy.
    for path in ["/health/startup", "/health/live", "/health/ready", "/metrics"] {
        let answer = app.client.get(format!("http://{probes}{path}")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    drop(first);
    let metrics = eventually(TEST_TIMEOUT, async || {
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        ask(&app, request).await.ok().filter(|answer| answer.starts_with("HTTP/1.1 200 "))
    })
    .await;
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).expect("it is counted");
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert!(value("spotter_http_connections_cut_total{") >= 1, "{metrics}");
    assert_eq!(value("spotter_http_connections{"), 2, "{metrics}");
}
