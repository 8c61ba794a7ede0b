//! No process writes a secret, at any log level.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use client::{Client, State, Submission, Timeouts};
use testkit::{NatsServer, Output, Process, ProcessBuilder, RedisServer, picture};

use crate::harness::{Ended, TIMEOUT, spotter};

/// Marks every secret. It is in the middle, so that neither escaping nor truncation hides it.
const MARK: &str = "Hush4711";
/// Not a secret: the client library logs it at the lowest level.
const USER: &str = "spotter";
const NATS_PASSWORD: &str = "natsHush4711secret";
const REDIS_PASSWORD: &str = "redisHush4711secret";

/// A service at the most verbose log level.
fn verbose(part: &str) -> ProcessBuilder {
    spotter([part])
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "full")
        // Credentials for a collector, which is absent.
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{USER}:otlp{MARK}pw@127.0.0.1:{}", testkit::free_port()),
        )
        .env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer%20otlp{MARK}token"))
        .env("PORT", "0")
        .env("CONCURRENCY", "1")
}

fn assert_silent(process: &Process) -> usize {
    let lines = process.lines();
    for line in &lines {
        assert!(!line.text.contains(MARK), "a secret was written: {}", line.text);
    }
    lines.len()
}

/// Waits until it has exited, and returns its exit code.
fn ended(mut process: Process) -> Option<i32> {
    let code = process.wait_exit(TIMEOUT).code();
    let _ = process.finished_lines();
    assert_silent(&process);
    code
}

/// A NATS server that requires user and password.
fn guarded_nats() -> NatsServer {
    let users = format!("authorization {{ user: {USER}, password: {NATS_PASSWORD} }}");
    NatsServer::builder().config(&users).start()
}

/// A Redis server that requires a password.
fn guarded_redis() -> RedisServer {
    let redis = RedisServer::start();
    let mut connection = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    connection
        .write_all(format!("CONFIG SET requirepass {REDIS_PASSWORD}\r\n").as_bytes())
        .unwrap();
    let mut answer = [0; 5];
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n");
    redis
}

fn with_login(url: &str, login: &str) -> String {
    url.replace("://", &format!("://{login}@"))
}

/// A credentials file in the format of NATS, with a valid seed.
fn credentials() -> (tempfile::NamedTempFile, String) {
    let seed = nkeys::KeyPair::new_user().seed().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "-----BEGIN NATS USER JWT-----\neyJ{MARK}.x.y\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    fs::write(file.path(), text).unwrap();
    (file, seed)
}

#[tokio::test]
async fn not_in_normal_operation() {
    let (nats, redis) = (guarded_nats(), guarded_redis());
    let nats_url = with_login(&nats.url(), &format!("{USER}:{NATS_PASSWORD}"));
    let redis_url = with_login(&redis.url(), &format!(":{REDIS_PASSWORD}"));
    let setup = Ended::of(spotter(["setup"]).env("NATS_URL", &nats_url));
    assert_eq!(setup.code, Some(0), "{setup:?}");
    let created = spotter(["key", "create", "--name", "a test"]).env("NATS_URL", &nats_url);
    let key = Ended::of(created).stdout.concat();
    let (_, secret) = key.rsplit_once('_').unwrap();
    let mut api = verbose("api")
        .env("NATS_URL", &nats_url)
        .env("REDIS_URL", &redis_url)
        .env("AUTH", "keys")
        .start();
    let mut worker = verbose("worker").env("NATS_URL", &nats_url).start();
    let base = api.wait_for_line(|line| line.output == Output::Stdout, TIMEOUT).text;
    let base = base.strip_prefix("listening on ").unwrap().to_owned();
    worker.wait_for_line(|line| line.text == "ready", TIMEOUT);

    let client = Client::new(&base, Timeouts::default()).unwrap().with_api_key(&key).unwrap();
    let bytes = fs::read(picture("bus.jpg")).unwrap();
    let id = client.submit(&Submission::new("bus.jpg", bytes)).await.unwrap().task_id;
    let task = client.await_terminal(id).await.unwrap();
    assert_eq!(task.state, State::Success, "{task:?}");
    // Once from the bucket, once from the cache.
    client.task(id, Duration::ZERO).await.unwrap();

    for process in [&mut api, &mut worker] {
        process.terminate();
        process.wait_exit(TIMEOUT);
        let _ = process.finished_lines();
        let shows_key = process.lines().iter().any(|line| line.text.contains(secret));
        assert!(!shows_key, "the API key was written");
        let lines = assert_silent(process);
        assert!(lines > 50, "only {lines} lines: the log level is not the most verbose");
    }
}

#[test]
fn not_when_a_server_refuses_or_is_gone() {
    let (nats, redis) = (guarded_nats(), guarded_redis());
    let nats_url = with_login(&nats.url(), &format!("{USER}:{NATS_PASSWORD}"));
    let wrong_login = with_login(&nats.url(), &format!("{USER}:wrong{MARK}"));
    let (credentials, seed) = credentials();
    let free = testkit::free_port();
    let absent = format!("nats://{USER}:{NATS_PASSWORD}@127.0.0.1:{free}");

    // The cache refuses the login; the API runs without it.
    let wrong_cache = with_login(&redis.url(), &format!(":wrong{MARK}"));
    let mut api = verbose("api").env("NATS_URL", &nats_url).env("REDIS_URL", wrong_cache).start();

    let mut processes = Vec::new();
    for part in ["api", "worker"] {
        processes.push((64, verbose(part).env("NATS_URL", &wrong_login).start()));
        processes.push((69, verbose(part).env("NATS_URL", &absent).start()));
        let by_file = verbose(part).env("NATS_URL", nats.url());
        processes.push((64, by_file.env("NATS_CREDENTIALS_FILE", credentials.path()).start()));
    }
    for (expected, mut process) in processes {
        process.wait_exit(TIMEOUT);
        let shown = process.finished_lines().iter().any(|line| line.text.contains(&seed));
        assert!(!shown, "the seed was written");
        assert_eq!(ended(process), Some(expected));
    }

    let base = api.wait_for_line(|line| line.output == Output::Stdout, TIMEOUT).text;
    let address = base.strip_prefix("listening on http://").unwrap();
    let id = domain::TaskId::generate();
    let mut client = TcpStream::connect(address).unwrap();
    let request = format!("GET /v1/tasks/{id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    for _ in 0..4 {
        client.write_all(request.as_bytes()).unwrap();
        client.read_to_end(&mut Vec::new()).unwrap();
        client = TcpStream::connect(address).unwrap();
    }
    api.wait_for_line(|line| line.text.contains("the cache fails"), TIMEOUT);
    api.terminate();
    ended(api);
}

#[test]
fn not_in_the_error_about_a_setting() {
    let secret = format!("top{MARK}secret");
    let bad = [
        ("NATS_URL", format!("http://bob:{secret}@host")),
        ("NATS_URL", format!("bob:{secret}@host:4222:x")),
        ("NATS_URL", format!("nats://bob:{secret},{secret}@host,nats://")),
        ("NATS_URL", format!("nats://bob:{secret}/{secret}@")),
        ("REDIS_URL", format!(":{secret}@host")),
        ("REDIS_URL", format!("http://:{secret}/{secret}@host")),
        ("REDIS_URL", format!("redis:{secret}@host")),
        ("REDIS_URL", format!("http://host?password={secret}")),
        // The part before the slash would be parsed as the host, and shown.
        ("NATS_URL", format!("nats://u:p@{secret}/{secret}@host")),
        ("NATS_URL", format!("nats://u:p@S3#{secret}@host")),
        ("NATS_URL", format!("nats://u:p@{secret},x@host")),
        ("NATS_URL", format!("nats://{secret}/x@host")),
        ("REDIS_URL", format!("redis://:p@S3/{secret}@host/0")),
        ("REDIS_URL", format!("redis://:12345?{secret}@host/0")),
        // An address in a setting of another type.
        ("PROBES_ADDRESS", format!("nats://u:{secret}@host")),
        ("MODEL", format!("redis://:{secret}@host")),
        ("NATS_CA_FILE", format!("nats://u:{secret}@host")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://u:p@S3/{secret} @host")),
        ("OTEL_EXPORTER_OTLP_HEADERS", secret.clone()),
        ("OTEL_RESOURCE_ATTRIBUTES", secret.clone()),
        ("NATS_CREDENTIALS_FILE", format!("-----BEGIN USER NKEY SEED-----\n{secret}\n")),
    ];
    let parts = |(name, value)| {
        let worker = (name != "REDIS_URL").then_some("worker");
        ["api"].into_iter().chain(worker).map(move |part| (part, name, String::clone(value)))
    };
    let started: Vec<_> = bad
        .iter()
        .flat_map(|(name, value)| parts((*name, value)))
        .map(|(part, name, value)| (name, verbose(part).env(name, &value).start()))
        .collect();
    for (name, process) in started {
        let complaint = process.wait_for_line(|line| line.text.contains(name), TIMEOUT);
        assert_eq!(ended(process), Some(64), "{complaint:?}");
    }
}

#[test]
fn not_in_the_error_about_a_file_of_settings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.env");
    fs::write(&file, format!("PORT=5000\nREDIS_URL=redis://:top{MARK} secret@host\n")).unwrap();
    let up = spotter(["up", "--data-dir"]).arg(folder.path()).arg("--env-file").arg(&file);
    let process = up.start();
    process.wait_for_line(|line| line.text.contains("line 2 is not NAME=value"), TIMEOUT);
    assert_eq!(ended(process), Some(64));
}

#[test]
fn not_in_the_help_or_the_error_of_a_command() {
    let secret = format!("top{MARK}secret");
    let ambiguous = format!("http://u:p@127.0.0.1/{secret}@host");
    // As far as this is an address, nothing listens there.
    let free = testkit::free_port();
    let token = format!("http://u:{secret}@127.0.0.1:{free}/{secret}?key={secret}");
    let submit = |api: &str| spotter(["submit", "--api", api]).arg(picture("bus.jpg"));
    let cases = [
        (64, submit(&ambiguous)),
        (69, submit(&token)),
        (0, spotter(["submit", "--help"]).env("SPOTTER_API", &token)),
        (0, spotter(["dlq", "list", "--help"]).env("NATS_URL", format!("nats://u:{secret}@host"))),
        (64, spotter(["dlq", "list", "--nats-url", &format!("nats://u:p@S3/{secret}@host")])),
        (69, spotter(["bench", "--only", "reads", "--target", &token])),
    ];
    for (expected, command) in cases {
        assert_eq!(ended(command.start()), Some(expected));
    }
}

#[test]
fn not_in_the_output_of_spotter_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.env");
    for (name, url) in [
        ("NATS_URL", format!("nats://u:p@S3/top{MARK}@host")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("ftp://u:top{MARK}@host")),
    ] {
        fs::write(&file, format!("{name}={url}\n")).unwrap();
        let up = spotter(["up", "--data-dir"]).arg(folder.path()).arg("--env-file").arg(&file);
        let process = up.start();
        process.wait_for_line(|line| line.text.contains(name), TIMEOUT);
        assert_eq!(ended(process), Some(64), "{name}");
    }
}
