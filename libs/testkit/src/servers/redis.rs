//! A real redis-server without persistence.

use tempfile::TempDir;

use crate::{
    START_TIMEOUT,
    files::server_program,
    network::ports::{free_port, probe, send},
    poll_until,
    process::Process,
    servers::certificates::Certificates,
};

/// How often a start is attempted: another program may take a port, and redis cannot choose one itself.
const PORT_ATTEMPTS: usize = 10;

/// A running redis-server; killed and reaped when dropped.
#[derive(Debug)]
pub struct RedisServer {
    process: Option<Process>,
    port: u16,
    folder: TempDir,
    tls: Option<Tls>,
}

/// The TLS port of a server.
#[derive(Debug)]
struct Tls {
    port: u16,
    arguments: Vec<String>,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    ///
    /// # Panics
    /// If the program is missing or does not come up.
    #[must_use]
    pub fn start() -> Self {
        Self::start_if_up(|| None)
    }

    /// As [`RedisServer::start`], with a second port for TLS: [`RedisServer::tls_url`].
    ///
    /// # Panics
    /// As [`RedisServer::start`].
    #[must_use]
    pub fn start_with_tls(certificates: &Certificates) -> Self {
        Self::start_if_up(|| Some(Tls::new(free_port(), certificates)))
    }

    fn start_if_up(tls: impl Fn() -> Option<Tls>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("testkit-redis-")
            .tempdir()
            .expect("a temporary folder can be made");
        let mut transcripts = String::new();
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port();
            let tls = tls();
            match launch(port, &folder, tls.as_ref()) {
                Ok(process) => return Self { process: Some(process), port, folder, tls },
                Err(transcript) => transcripts.push_str(&transcript),
            }
        }
        panic!("redis-server did not come up; it wrote:\n{transcripts}");
    }

    /// Where clients connect: `redis://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where clients connect with TLS: `rediss://127.0.0.1:<port>`.
    ///
    /// # Panics
    /// If the server was started without TLS.
    #[must_use]
    pub fn tls_url(&self) -> String {
        let tls = self.tls.as_ref().expect("the server was started with TLS");
        format!("rediss://127.0.0.1:{}", tls.port)
    }

    /// The port clients connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Deletes every key.
    ///
    /// # Panics
    /// If the server does not confirm it.
    pub fn flush(&self) {
        let answer = send(self.port, b"FLUSHALL\r\nQUIT\r\n", |_| false);
        assert!(answer.is_some_and(|answer| answer.starts_with("+OK")), "redis was not flushed");
    }

    /// The text stored under a key, if there is one. The key must not contain blanks.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<String> {
        let answer = send(self.port, format!("GET {key}\r\nQUIT\r\n").as_bytes(), |_| false)?;
        // `$<length>\r\n<text>\r\n+OK`; `$-1` for a missing key.
        let (length, rest) = answer.strip_prefix('$')?.split_once("\r\n")?;
        rest.get(..length.parse().ok()?).map(str::to_owned)
    }

    /// Stores a text under a key.
    ///
    /// # Panics
    /// If the server does not confirm it.
    pub fn set(&self, key: &str, text: &str) {
        let words = ["SET", key, text];
        let words = words.map(|word| format!("${}\r\n{word}\r\n", word.len())).concat();
        let answer = send(self.port, format!("*3\r\n{words}QUIT\r\n").as_bytes(), |_| false);
        assert!(answer.is_some_and(|answer| answer.starts_with("+OK")), "redis stored nothing");
    }

    /// All keys with this prefix.
    ///
    /// # Panics
    /// If the server does not answer.
    #[must_use]
    pub fn keys(&self, start: &str) -> Vec<String> {
        let answer = send(self.port, format!("KEYS {start}*\r\nQUIT\r\n").as_bytes(), |_| false);
        let answer = answer.filter(|answer| answer.starts_with('*')).expect("redis lists its keys");
        answer.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
    }

    /// Kills the server with SIGKILL. Its data is lost; [`RedisServer::restart`] uses the same port.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts the server again, empty, on the same port, killing it first if it runs.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart(&mut self) {
        self.kill();
        match launch(self.port, &self.folder, self.tls.as_ref()) {
            Ok(process) => self.process = Some(process),
            Err(transcript) => panic!("redis-server did not come up; it wrote:\n{transcript}"),
        }
    }

    /// Freezes the server: the kernel accepts connections, and no request is answered.
    ///
    /// # Panics
    /// If the server was killed and not restarted.
    pub fn pause(&mut self) {
        self.process.as_mut().expect("the server was killed").stop();
    }

    /// Resumes the server after [`RedisServer::pause`].
    ///
    /// # Panics
    /// If the server was killed and not restarted.
    pub fn resume(&mut self) {
        self.process.as_mut().expect("the server was killed").cont();
    }
}

impl Tls {
    fn new(port: u16, certificates: &Certificates) -> Self {
        let (certificate, key) = certificates.server();
        let files = [certificate, key, certificates.ca()].map(|path| path.display().to_string());
        let [certificate, key, ca] = files;
        let arguments = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", certificate),
            ("--tls-key-file", key),
            ("--tls-ca-cert-file", ca),
            ("--tls-auth-clients", "no".to_owned()),
        ];
        let arguments = arguments.map(|(name, value)| [name.to_owned(), value]).concat();
        Self { port, arguments }
    }
}

/// Starts a server on `port`. `Err` is what the server wrote before it exited.
fn launch(port: u16, folder: &TempDir, tls: Option<&Tls>) -> Result<Process, String> {
    let mut process = Process::builder(server_program("redis-server"))
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(folder.path())
        .args(tls.map(|tls| &tls.arguments[..]).unwrap_or_default())
        .start();
    // The answer must come from this process, not from another one that took the port first.
    let own_id = format!("process_id:{}\r\n", process.id());
    let up = poll_until(START_TIMEOUT, || {
        if process.exit_status().is_some() {
            return Some(false);
        }
        let answer = probe(port, b"INFO server\r\nQUIT\r\n", |_| false)?;
        answer.contains(&own_id).then_some(true)
    });
    if up == Some(true) { Ok(process) } else { Err(process.transcript()) }
}
