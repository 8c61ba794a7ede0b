//! The whole system as child processes of this one: started, looked after, stopped in order.

mod child;
mod ports;
mod probe;
mod servers;
mod settings;
mod storage;

use std::{env, fs, path::Path, time::Duration};

use service::shutdown;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::settings::{ResultCache, Settings};
use self::{
    child::{Priority, Ready, Spec, start},
    ports::PortReservation,
};
use crate::{error::CliError, output::remark};

/// How long the API and the workers may take to finish what they are at. Longer than their own
/// grace, so that they end by themselves.
const SERVICE_GRACE: Duration = Duration::from_secs(35);
const SERVER_GRACE: Duration = Duration::from_secs(10);

/// Waits on one thread, on purpose: the kernel tells children that their parent has died when the
/// *thread* that started them ends.
///
/// # Errors
/// If the operating system gives no more of what a runtime needs.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// All that has been started, in the order in which it must stop.
pub(crate) struct System {
    services: JoinSet<Result<(), CliError>>,
    stop_services: CancellationToken,
    servers: JoinSet<Result<(), CliError>>,
    stop_servers: CancellationToken,
    /// The ports of all of them, which stay theirs while they are restarted.
    reservations: Vec<PortReservation>,
    _lock: fs::File,
}

/// How a system came to its end.
pub(crate) enum Stopped {
    InOrder,
    /// Somebody could not wait.
    AtOnce,
}

impl System {
    /// Nothing yet, but its data folder is nobody else's from now on.
    ///
    /// # Errors
    /// If another system uses that folder, or it cannot be written.
    pub(crate) fn in_folder(data_dir: &Path) -> Result<Self, CliError> {
        Ok(Self {
            services: JoinSet::new(),
            stop_services: CancellationToken::new(),
            servers: JoinSet::new(),
            stop_servers: CancellationToken::new(),
            reservations: Vec::new(),
            _lock: lock(data_dir)?,
        })
    }

    /// Starts everything that `settings` ask for and waits until it is of use. Returns the API's
    /// address, such as `http://127.0.0.1:5000`. What has been started when this fails is still to be
    /// stopped.
    pub(crate) async fn start(&mut self, settings: &Settings) -> Result<String, CliError> {
        let nats_url = servers::nats(settings, self).await?;
        let redis_url = servers::redis(settings, self).await?;
        let service = |name, part: &str| {
            let mut spec = Spec::new(name, env::current_exe()?, Ready::Announced)
                .arg(part)
                .envs(settings.variables.clone())
                .env("NATS_URL", &nats_url)
                .env("MODEL", settings.model.as_str());
            if let Some(url) = &redis_url {
                spec = spec.env("REDIS_URL", url);
            }
            Ok::<_, CliError>(spec)
        };
        let api = ports::start_near(&settings.host, settings.port, async |port| {
            let api = service("API", "api")?
                .env("HOST", settings.host.as_str())
                .env("PORT", port.to_string())
                // Meant for a worker, which has no other address: the API's has these routes anyway.
                .env("PROBES_ADDRESS", "");
            start(api, SERVICE_GRACE, &self.stop_services, &mut self.services).await
        })
        .await?;
        let port = api.port;
        self.reservations.push(api.reservation);
        // Nobody who asked for any port needs to hear that it is another one.
        if port != settings.port && settings.port != 0 {
            remark(format_args!("  port {} is in use: the API takes {port}", settings.port));
        }
        for _ in 0..settings.workers.get() {
            let worker = service("worker", "worker")?
                // Who uploads or asks waits for an answer now.
                .priority(Priority::Background)
                .env("CONCURRENCY", settings.concurrency.to_string())
                .env("THREADS_PER_PICTURE", settings.threads_per_picture.to_string());
            start(worker, SERVICE_GRACE, &self.stop_services, &mut self.services).await?;
        }
        Ok(api.started.trim_start_matches("listening on ").to_owned())
    }

    /// Waits until a part has ended that will not come back.
    pub(crate) async fn ended(&mut self) -> Result<(), CliError> {
        tokio::select! {
            Some(ended) = self.services.join_next() => flatten(ended),
            Some(ended) = self.servers.join_next() => flatten(ended),
            else => Ok(()),
        }
    }

    /// Services first, so that they can still tell the servers how their last jobs ended.
    pub(crate) async fn stop(mut self) -> Result<Stopped, CliError> {
        let impatient = shutdown::on_signal()?;
        let orderly = async {
            self.stop_services.cancel();
            while self.services.join_next().await.is_some() {}
            self.stop_servers.cancel();
            while self.servers.join_next().await.is_some() {}
        };
        tokio::select! {
            () = orderly => Ok(Stopped::InOrder),
            // A second Ctrl-C: everything still running is killed when it is dropped.
            () = impatient.cancelled() => Ok(Stopped::AtOnce),
        }
    }
}

fn flatten(ended: Result<Result<(), CliError>, tokio::task::JoinError>) -> Result<(), CliError> {
    ended.unwrap_or_else(|error| Err(CliError::Unavailable(error.to_string())))
}

/// Two queues in one folder would ruin it.
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
