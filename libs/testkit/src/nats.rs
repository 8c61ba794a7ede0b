//! A real nats-server with JetStream.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{START_TIMEOUT, files::server_program, poll_until, ports::ask, process::Process};

/// How to start a [`NatsServer`].
#[derive(Debug, Default)]
pub struct NatsServerBuilder {
    config: String,
    arguments: Vec<String>,
    store_dir: Option<PathBuf>,
    jetstream_max_store: Option<u64>,
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

    /// Starts the server and waits until JetStream answers.
    ///
    /// # Panics
    /// If the program is missing or does not come up.
    #[must_use]
    pub fn start(self) -> NatsServer {
        let folder = tempfile::Builder::new()
            .prefix("testkit-nats-")
            .tempdir()
            .expect("a temporary folder can be made");
        let (process, ports) = launch(&self, folder.path(), Ports::ANY);
        NatsServer { process: Some(process), ports, folder, builder: self }
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

    /// Where clients connect: `nats://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.ports.client)
    }

    /// Where the server tells about itself: `http://127.0.0.1:<port>`, with `/varz`, `/jsz` …
    #[must_use]
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.monitor)
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
        let (process, ports) = launch(&self.builder, self.folder.path(), self.ports);
        self.process = Some(process);
        self.ports = ports;
    }
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    client: i32,
    monitor: i32,
}

impl Ports {
    /// To nats-server, -1 means "any free port".
    const ANY: Self = Self { client: -1, monitor: -1 };
}

fn launch(builder: &NatsServerBuilder, folder: &Path, ports: Ports) -> (Process, Ports) {
    let config = folder.join("nats.conf");
    std::fs::write(&config, config_text(builder, folder, ports)).expect("the folder is writable");
    let process = Process::builder(server_program("nats-server"))
        .arg("--config")
        .arg(&config)
        .args(&builder.arguments)
        .start();
    // The server names the file after its own process id, so an older one cannot be mistaken for it.
    let ports_file = folder.join(format!("nats-server_{}.ports", process.id()));
    let ports = poll_until(START_TIMEOUT, || {
        // The file may be seen half written; then it is no JSON yet.
        let text = std::fs::read_to_string(&ports_file).ok()?;
        let json = serde_json::from_str::<serde_json::Value>(&text).ok()?;
        Some(Ports {
            client: port_of(json["nats"][0].as_str()?)?,
            monitor: port_of(json["monitoring"][0].as_str()?)?,
        })
    });
    let ready = ports.filter(|ports| {
        poll_until(START_TIMEOUT, || {
            let answer = ask(
                u16::try_from(ports.monitor).ok()?,
                b"GET /healthz HTTP/1.0\r\n\r\n",
                |answer| answer.contains("\r\n\r\n"),
            )?;
            answer.starts_with("HTTP/1.0 200").then_some(())
        })
        .is_some()
    });
    match ready {
        Some(ports) => (process, ports),
        None => panic!("nats-server did not come up; it wrote:\n{}", process.transcript()),
    }
}

fn config_text(builder: &NatsServerBuilder, folder: &Path, ports: Ports) -> String {
    let store = builder.store_dir.clone().unwrap_or_else(|| folder.join("store"));
    let limit =
        builder.jetstream_max_store.map(|n| format!(", max_file_store: {n}")).unwrap_or_default();
    format!(
        "listen: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\nports_file_dir: \"{}\"\n\
         jetstream {{ store_dir: \"{}\"{limit} }}\n{}",
        ports.client,
        ports.monitor,
        folder.display(),
        store.display(),
        builder.config,
    )
}

fn port_of(url: &str) -> Option<i32> {
    url.rsplit(':').next()?.trim_end_matches('/').parse().ok()
}
