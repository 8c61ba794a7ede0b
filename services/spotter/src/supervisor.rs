//! Runs the whole system as child processes: starts them, restarts them, stops them in order.

mod child;
mod group;
mod ports;
mod probe;
mod servers;
mod settings;
mod spec;
mod storage;

use std::{env, fs, path::Path, time::Duration};

use service::lifecycle::shutdown;
use worker::cores;

pub(crate) use self::settings::{Queue, ResultCache, Settings};
use self::{
    group::ProcessGroup,
    spec::{Priority, Ready, Spec},
};
use crate::{error::CliError, output::notice};

/// How long the API and the workers may take to end after SIGTERM. Longer than their own grace period, so that
/// they end by themselves.
const SERVICE_GRACE: Duration = Duration::from_secs(35);
const SERVER_GRACE: Duration = Duration::from_secs(10);

/// tokio reads the number of its threads from this variable.
const RUNTIME_THREADS: &str = "TOKIO_WORKER_THREADS";

/// How many threads serve the connections of a service. The default is one for each core, but the models use the cores,
/// and threads without work wake one another. On two cores the API took 0.1 ms of CPU less a picture with one thread.
fn runtime_threads() -> usize {
    cores::all().get().div_ceil(2)
}

/// Runs `work` on this thread alone: the kernel signals the death of a parent when the *thread* that started the
/// child ends.
///
/// # Errors
/// If a runtime cannot be created.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// The system's processes, and what they share.
pub(crate) struct Supervisor {
    /// API and workers.
    services: ProcessGroup,
    /// NATS and Redis, which the services need until they have ended.
    servers: ProcessGroup,
    _lock: fs::File,
}

/// How the system was stopped.
pub(crate) enum Stopped {
    /// Every process finished what it had begun.
    InOrder,
    /// By a second Ctrl-C.
    AtOnce,
}

impl Supervisor {
    /// Nothing runs yet, but no other system can use the data folder from now on.
    ///
    /// # Errors
    /// If another system uses that folder, or it cannot be written.
    pub(crate) fn in_folder(data_dir: &Path) -> Result<Self, CliError> {
        Ok(Self {
            services: ProcessGroup::new(SERVICE_GRACE),
            servers: ProcessGroup::new(SERVER_GRACE),
            _lock: lock(data_dir)?,
        })
    }

    /// Starts every process and waits until all are ready. Returns the API's address, such as
    /// `http://127.0.0.1:5000`. After an error, [`Supervisor::stop`] stops what has been started.
    pub(crate) async fn start(&mut self, settings: &Settings) -> Result<String, CliError> {
        let nats_url = servers::nats(settings, &mut self.servers).await?;
        let redis_url = servers::redis(settings, &mut self.servers).await?;
        let service = |name, part: &str| {
            let mut spec = Spec::new(name, env::current_exe()?, Ready::PrintsLine)
                .arg(part)
                .envs(settings.variables.clone())
                .env("MODEL", settings.model.as_str())
                .env("WEBHOOKS", if settings.webhooks { "on" } else { "off" });
            if !settings.sets(RUNTIME_THREADS) {
                spec = spec.env(RUNTIME_THREADS, runtime_threads().to_string());
            }
            if part != "notifier" {
                spec = spec.env("WEBHOOK_SECRETS", "");
            }
            for (name, value) in [("NATS_URL", &nats_url), ("REDIS_URL", &redis_url)] {
                if let Some(value) = value {
                    spec = spec.env(name, value);
                }
            }
            Ok::<_, CliError>(spec)
        };
        let api = |port: u16| {
            Ok(service("API", "api")?
                .env("HOST", settings.host.as_str())
                .env("PORT", port.to_string())
                // Meant for the workers: the API serves these routes at its own address.
                .env("PROBES_ADDRESS", ""))
        };
        let (port, announced) =
            self.services.start_near(&settings.host, settings.port, api).await?;
        // Port 0 asks for any port.
        if port != settings.port && settings.port != 0 {
            notice(format_args!("  port {} is in use: the API takes {port}", settings.port));
        }
        for _ in 0..settings.workers.get() {
            let worker = service("worker", "worker")?
                // Requests take precedence over jobs: a client waits for its answer.
                .priority(Priority::Background)
                .env("CONCURRENCY", settings.cores.slots.to_string())
                .env("THREADS_PER_PICTURE", settings.cores.per_slot.to_string());
            self.services.start(worker).await?;
        }
        if settings.webhooks || settings.messaging.cloud_events {
            let notifier = service("notifier", "notifier")?.env("PROBES_ADDRESS", "");
            self.services.start(notifier).await?;
        }
        Ok(announced.trim_start_matches("listening on ").to_owned())
    }

    /// Waits until a process has ended that will not be started again.
    pub(crate) async fn ended(&mut self) -> Result<(), CliError> {
        tokio::select! {
            Some(ended) = self.services.ended() => ended,
            Some(ended) = self.servers.ended() => ended,
            else => Ok(()),
        }
    }

    /// Stops the services first: they store the results of their last jobs on the servers.
    pub(crate) async fn stop(mut self) -> Result<Stopped, CliError> {
        let second_interrupt = shutdown::on_signal()?;
        let orderly = async {
            self.services.stop().await;
            self.servers.stop().await;
        };
        tokio::select! {
            () = orderly => Ok(Stopped::InOrder),
            // A second Ctrl-C: every process that still runs is killed when it is dropped.
            () = second_interrupt.cancelled() => Ok(Stopped::AtOnce),
        }
    }
}

/// Takes the data folder's lock: two NATS servers on one store would corrupt it.
fn lock(data_dir: &Path) -> Result<fs::File, CliError> {
    let unwritable = |source| CliError::Write { path: data_dir.to_owned(), source };
    fs::create_dir_all(data_dir).map_err(unwritable)?;
    let file = fs::File::create(data_dir.join("up.lock")).map_err(unwritable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(CliError::Usage(format!(
            "another `spotter up` is using {}; stop it, or give --data-dir another folder",
            data_dir.display()
        ))),
        Err(fs::TryLockError::Error(source)) => Err(unwritable(source)),
    }
}
