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
    network::ports::{ask, free_port, probe},
    poll_until,
    process::{Process, ProcessBuilder},
    servers::certificates::Certificates,
    servers::small_disk::SmallDisk,
};

/// How often other ports are tried when somebody else took the first.
const PORT_ATTEMPTS: usize = 5;

/// The users of `deploy/nats/permissions.conf`.
const ROLES: [&str; 5] = ["api", "worker", "setup", "operator", "monitor"];

/// How to start a [`NatsServer`].
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
    /// Adds lines to the server's configuration file, such as `max_payload: 2MB`. Not a
    /// `jetstream` block, which is written already.
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        self.config.push_str(text);
        self.config.push('\n');
        self
    }

    /// The most bytes of one message; the server's default is 1 MiB.
    #[must_use]
    pub fn max_payload(self, bytes: usize) -> Self {
        self.config(&format!("max_payload: {bytes}"))
    }

    /// The most bytes JetStream may store in files.
    #[must_use]
    pub fn jetstream_max_store(mut self, bytes: u64) -> Self {
        self.jetstream_max_store = Some(bytes);
        self
    }

    /// Gives each part of the system a user of its own, with the permissions that are shipped in
    /// `deploy/nats`; [`NatsServer::url_as`] logs in.
    ///
    /// # Panics
    /// If the project's file is not there.
    #[must_use]
    pub fn roles(mut self) -> Self {
        for role in ROLES {
            let name = format!("NATS_{}_PASSWORD", role.to_uppercase());
            self.variables.push((name, password_of(role)));
        }
        // Its text, since a file that is included must lie below the one that includes it.
        let path = workspace_root().join("deploy/nats/permissions.conf");
        let permissions = std::fs::read_to_string(path).expect("it is a part of the project");
        self.config(&permissions)
    }

    /// Speaks TLS only, and asks clients for a certificate of the same authority.
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

    /// Stores streams on this disk, and promises them more than it has room for, as it may happen
    /// on a disk that others write to. By itself the server would promise what was free at its start.
    #[must_use]
    pub fn disk(mut self, disk: &Arc<SmallDisk>) -> Self {
        self.store_dir = Some(disk.path().join("store"));
        self.disk = Some(Arc::clone(disk));
        self.jetstream_max_store(8 << 30)
    }

    /// Confirms nothing that is not on the disk, as in production; by itself the server tells the
    /// disk every two minutes to write down what it has.
    #[must_use]
    pub fn sync_always(mut self) -> Self {
        self.sync_always = true;
        self
    }

    /// A node of a cluster is started without waiting for the others.
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

    /// One attempt; somebody else may have taken a port. `Err` is what the server wrote.
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

    /// Where the server tells about itself: `http://127.0.0.1:<port>`, with `/varz`, `/jsz` …
    #[must_use]
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.monitor)
    }

    /// The port the server tells about itself on.
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

    /// Whether it says so itself: JetStream works and, in a cluster, has caught up.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.is_running() && answers(self.ports.monitor, "/healthz")
    }

    /// Asks the server something over a connection of its own, such as to delete a consumer, and
    /// returns the payload of the answer; `None` if there is none for long.
    #[must_use]
    pub fn request(&self, subject: &str, payload: &str) -> Option<String> {
        Self::answer(|question, whole| ask(self.port(), question, whole), subject, payload)
    }

    /// As [`NatsServer::request`], where there may be nobody to answer at the moment: `None` after a
    /// second.
    #[must_use]
    pub fn try_request(&self, subject: &str, payload: &str) -> Option<String> {
        Self::answer(|question, whole| probe(self.port(), question, whole), subject, payload)
    }

    fn answer(
        ask: impl FnOnce(&[u8], fn(&str) -> bool) -> Option<String>,
        subject: &str,
        payload: &str,
    ) -> Option<String> {
        let question = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB _INBOX.testkit 1\r\n\
             PUB {subject} _INBOX.testkit {}\r\n{payload}\r\n",
            payload.len()
        );
        // A MSG line, its payload, and the line break after it.
        let whole = |answer: &str| {
            answer.split_once("\r\nMSG ").is_some_and(|(_, rest)| rest.matches("\r\n").count() >= 2)
        };
        let answer = ask(question.as_bytes(), whole)?;
        let (_, message) = answer.split_once("\r\nMSG ")?;
        message.split("\r\n").nth(1).map(str::to_owned)
    }

    /// The password of a role, for clients that do not take it from the URL.
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

    /// Kills the server with SIGKILL. Its port and its store wait for [`NatsServer::restart`].
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

/// Starts a server and waits until JetStream answers, or tells what it wrote before it gave up.
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
    // The server names the file after its own process id and writes it when it listens everywhere,
    // so somebody else's server on the same port cannot be mistaken for it.
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

/// Whether the monitoring port says 200 to this path.
fn answers(port: u16, path: &str) -> bool {
    let question = format!("GET {path} HTTP/1.0\r\n\r\n");
    let whole = |answer: &str| answer.contains("\r\n\r\n");
    probe(port, question.as_bytes(), whole).is_some_and(|answer| answer.starts_with("HTTP/1.0 200"))
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
