//! A real nats-server with JetStream.

mod monitoring;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;

pub use self::monitoring::StreamState;
use crate::{
    START_TIMEOUT,
    files::{server_program, workspace_root},
    network::ports::{free_port, probe, send},
    poll_until,
    process::{Process, ProcessBuilder},
    servers::certificates::Certificates,
    servers::small_disk::SmallDisk,
};

/// How often a start is attempted: another program may take a port.
const PORT_ATTEMPTS: usize = 5;

/// The users of `deploy/nats/permissions.conf`.
const ROLES: [&str; 6] = ["api", "worker", "setup", "operator", "notifier", "monitor"];

/// The settings of a [`NatsServer`].
#[derive(Debug, Clone, Default)]
pub struct NatsServerBuilder {
    config: String,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    tls: bool,
    store_dir: Option<PathBuf>,
    jetstream_max_store: Option<u64>,
    clustered: bool,
    disk: Option<Arc<SmallDisk>>,
    sync_always: bool,
}

impl NatsServerBuilder {
    /// Adds lines to the server's configuration file, such as `max_payload: 2MB`. The `jetstream` block is
    /// written by the builder.
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        self.config.push_str(text);
        self.config.push('\n');
        self
    }

    /// The maximum size of a message in bytes; the server's default is 1 MiB.
    #[must_use]
    pub fn max_payload(self, bytes: usize) -> Self {
        self.config(&format!("max_payload: {bytes}"))
    }

    /// The maximum number of bytes that JetStream stores in files.
    #[must_use]
    pub fn jetstream_max_store(mut self, bytes: u64) -> Self {
        self.jetstream_max_store = Some(bytes);
        self
    }

    /// Creates a user for each role, with the permissions in `deploy/nats`. [`NatsServer::url_as`] logs in.
    ///
    /// # Panics
    /// If the file of permissions cannot be read.
    #[must_use]
    pub fn roles(mut self) -> Self {
        for role in ROLES {
            let name = format!("NATS_{}_PASSWORD", role.to_uppercase());
            self.variables.push((name, password_of(role)));
        }
        // The file's text: an included file must be in a subfolder of the one that includes it.
        let path = workspace_root().join("deploy/nats/permissions.conf");
        let permissions = std::fs::read_to_string(path).expect("it is a part of the project");
        self.config(&permissions)
    }

    /// Requires TLS, and a client certificate of the same authority.
    #[must_use]
    pub fn tls(mut self, certificates: &Certificates) -> Self {
        self.tls = true;
        let (certificate, key) = certificates.server();
        self.config(&format!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}",
            certificate.display(),
            key.display(),
            certificates.ca().display(),
        ))
    }

    /// Adds a command line argument.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Stores streams in this folder instead of one that is removed with the server.
    #[must_use]
    pub fn store_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.store_dir = Some(folder.into());
        self
    }

    /// Stores streams on this disk, with a limit above its size, as on a disk that other programs fill. By default
    /// the server's limit is what is free at its start.
    #[must_use]
    pub fn disk(mut self, disk: &Arc<SmallDisk>) -> Self {
        self.store_dir = Some(disk.path().join("store"));
        self.disk = Some(Arc::clone(disk));
        self.jetstream_max_store(8 << 30)
    }

    /// Syncs every write before it is acknowledged, as in production. By default the server syncs every two
    /// minutes.
    #[must_use]
    pub fn sync_always(mut self) -> Self {
        self.sync_always = true;
        self
    }

    /// For a node of a cluster: it starts without waiting for the others.
    pub(crate) fn clustered(mut self) -> Self {
        self.clustered = true;
        self
    }

    /// Starts the server and waits until JetStream answers.
    ///
    /// # Panics
    /// If the program is missing or does not come up.
    #[must_use]
    pub fn start(self) -> NatsServer {
        let mut transcripts = String::new();
        for _ in 0..PORT_ATTEMPTS {
            match self.try_start() {
                Ok(server) => return server,
                Err(transcript) => transcripts.push_str(&transcript),
            }
        }
        panic!("nats-server did not come up; it wrote:\n{transcripts}");
    }

    /// One attempt; another program may have taken a port. `Err` is what the server wrote.
    pub(crate) fn try_start(&self) -> Result<NatsServer, String> {
        let folder = tempfile::Builder::new()
            .prefix("testkit-nats-")
            .tempdir()
            .expect("a temporary folder can be made");
        let ports = Ports { client: free_port(), monitor: free_port() };
        let process = launch(self, folder.path(), ports)?;
        Ok(NatsServer { process: Some(process), ports, folder, builder: self.clone() })
    }
}

/// A running nats-server with JetStream; killed and reaped when dropped.
#[derive(Debug)]
pub struct NatsServer {
    process: Option<Process>,
    ports: Ports,
    folder: TempDir,
    builder: NatsServerBuilder,
}

impl NatsServer {
    /// A server with the default settings, its store in a folder that is removed with it.
    ///
    /// # Panics
    /// If the program is missing or does not come up.
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Describes a server with other settings.
    #[must_use]
    pub fn builder() -> NatsServerBuilder {
        NatsServerBuilder::default()
    }

    /// Where clients connect: `nats://127.0.0.1:<port>`, or `tls://…`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.builder.tls { "tls" } else { "nats" };
        format!("{scheme}://127.0.0.1:{}", self.ports.client)
    }

    /// As [`NatsServer::url`], with the login of a role: `api`, `worker`, `setup`, `operator` or
    /// `monitor`. For a server with [`NatsServerBuilder::roles`].
    #[must_use]
    pub fn url_as(&self, role: &str) -> String {
        self.url().replace("://", &format!("://{role}:{}@", password_of(role)))
    }

    /// The monitoring address: `http://127.0.0.1:<port>`, with `/varz`, `/jsz` …
    #[must_use]
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.monitor)
    }

    /// The monitoring port.
    pub(crate) fn monitor_port(&self) -> u16 {
        self.ports.monitor
    }

    /// The port clients connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.client
    }

    /// Whether the server has not been killed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Whether it reports itself healthy: JetStream works and, in a cluster, has caught up.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.is_running() && answers(self.ports.monitor, "/healthz")
    }

    /// Sends a request over a connection of its own, such as to delete a consumer, and returns the payload of the
    /// reply; `None` after a timeout.
    #[must_use]
    pub fn request(&self, subject: &str, payload: &str) -> Option<String> {
        Self::answer(
            |request, is_complete| send(self.port(), request, is_complete),
            subject,
            payload,
        )
    }

    /// As [`NatsServer::request`], with a timeout of a second, where there may be no responder at the moment.
    #[must_use]
    pub fn try_request(&self, subject: &str, payload: &str) -> Option<String> {
        Self::answer(
            |request, is_complete| probe(self.port(), request, is_complete),
            subject,
            payload,
        )
    }

    fn answer(
        send: impl FnOnce(&[u8], fn(&str) -> bool) -> Option<String>,
        subject: &str,
        payload: &str,
    ) -> Option<String> {
        let request = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB _INBOX.testkit 1\r\n\
             PUB {subject} _INBOX.testkit {}\r\n{payload}\r\n",
            payload.len()
        );
        // A MSG line, its payload, and the line break after it.
        let is_complete = |answer: &str| {
            answer.split_once("\r\nMSG ").is_some_and(|(_, rest)| rest.matches("\r\n").count() >= 2)
        };
        let answer = send(request.as_bytes(), is_complete)?;
        let (_, message) = answer.split_once("\r\nMSG ")?;
        message.split("\r\n").nth(1).map(str::to_owned)
    }

    /// The password of a role, for clients that do not use the one in the URL.
    #[must_use]
    pub fn password(&self, role: &str) -> String {
        password_of(role)
    }

    /// Everything that the server has written.
    ///
    /// # Panics
    /// If the server was killed and not restarted.
    #[must_use]
    pub fn transcript(&self) -> String {
        self.process.as_ref().expect("the server was killed").transcript()
    }

    /// The server's process id, to look it up in `/proc`.
    ///
    /// # Panics
    /// If the server was killed and not restarted.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("the server was killed").id()
    }

    /// The process, to stop and continue it.
    ///
    /// # Panics
    /// If the server was killed and not restarted.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the server was killed")
    }

    /// Kills the server with SIGKILL. [`NatsServer::restart`] uses the same port and store.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts the server again on the same port and the same store, killing it first if it runs.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart(&mut self) {
        self.kill();
        match launch(&self.builder, self.folder.path(), self.ports) {
            Ok(process) => self.process = Some(process),
            Err(transcript) => panic!("nats-server did not come back; it wrote:\n{transcript}"),
        }
    }
}

fn password_of(role: &str) -> String {
    format!("password-of-{role}")
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    client: u16,
    monitor: u16,
}

/// Starts a server and waits until JetStream answers. `Err` is what the server wrote before it exited.
fn launch(builder: &NatsServerBuilder, folder: &Path, ports: Ports) -> Result<Process, String> {
    let config = folder.join("nats.conf");
    std::fs::write(&config, config_text(builder, folder, ports)).expect("the folder is writable");
    let mut words = builder.disk.as_ref().map(|disk| disk.prefix()).unwrap_or_default().into_iter();
    let program = server_program("nats-server");
    let process = match words.next() {
        Some(first) => Process::builder(first).args(words).arg(program),
        None => Process::builder(program),
    };
    let process = process.arg("--config").arg(&config).args(&builder.arguments);
    let with = |process: ProcessBuilder, (name, value)| process.env(name, value);
    let mut process = builder.variables.iter().cloned().fold(process, with).start();
    // The server names the file after its process id and writes it when it listens on every port, so another
    // server on the same port is not mistaken for it.
    let ports_file = folder.join(format!("nats-server_{}.ports", process.id()));
    let health = if builder.clustered { "/healthz?js-enabled-only=true" } else { "/healthz" };
    let up = poll_until(START_TIMEOUT, || {
        if process.exit_status().is_some() {
            return Some(false);
        }
        (ports_file.exists() && answers(ports.monitor, health)).then_some(true)
    });
    if up == Some(true) { Ok(process) } else { Err(process.transcript()) }
}

/// Whether the monitoring port answers this path with 200.
fn answers(port: u16, path: &str) -> bool {
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    let is_complete = |answer: &str| answer.contains("\r\n\r\n");
    probe(port, request.as_bytes(), is_complete)
        .is_some_and(|answer| answer.starts_with("HTTP/1.0 200"))
}

fn config_text(builder: &NatsServerBuilder, folder: &Path, ports: Ports) -> String {
    let store = builder.store_dir.clone().unwrap_or_else(|| folder.join("store"));
    let limit =
        builder.jetstream_max_store.map(|n| format!(", max_file_store: {n}")).unwrap_or_default();
    let sync = if builder.sync_always { ", sync_interval: always" } else { "" };
    format!(
        "listen: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\nports_file_dir: \"{}\"\n\
         jetstream {{ store_dir: \"{}\"{limit}{sync} }}\n{}",
        ports.client,
        ports.monitor,
        folder.display(),
        store.display(),
        builder.config,
    )
}
