//! `spotter up`: everything on one machine, until Ctrl-C.

mod child;
mod ports;
mod probe;
mod servers;
mod settings;

use std::{env, fs, path::Path, time::Duration};

use runtime::shutdown;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    child::{Ready, Spec, start},
    settings::Settings,
};
use crate::{cli::UpOptions, error::CliError, output::remark};

/// How long the API and the workers may take to finish what they are at. Longer than their own
/// grace, so that they end by themselves.
const SERVICE_GRACE: Duration = Duration::from_secs(35);
const SERVER_GRACE: Duration = Duration::from_secs(10);

pub(crate) fn up(options: UpOptions) -> Result<(), CliError> {
    let settings = Settings::read(options)?;
    // Asked before anything is started, so that a wrong name costs no time.
    settings.places().bundle(&settings.model)?;
    // One thread, on purpose: the kernel tells children that their parent has died when the
    // *thread* that started them ends.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&settings))
}

/// All that has been started, in the order in which it must stop.
struct Running {
    services: JoinSet<Result<(), CliError>>,
    stop_services: CancellationToken,
    servers: JoinSet<Result<(), CliError>>,
    stop_servers: CancellationToken,
}

async fn run(settings: &Settings) -> Result<(), CliError> {
    let _lock = lock(&settings.data_dir)?;
    let interrupted = shutdown::on_signal()?;
    let mut running = Running {
        services: JoinSet::new(),
        stop_services: CancellationToken::new(),
        servers: JoinSet::new(),
        stop_servers: CancellationToken::new(),
    };
    let outcome = tokio::select! {
        started = start_all(settings, &mut running) => match started {
            Ok(()) => watch(&mut running, &interrupted).await,
            Err(error) => Err(error),
        },
        () = interrupted.cancelled() => Ok(()),
    };
    stop(running).await?;
    outcome
}

async fn start_all(settings: &Settings, running: &mut Running) -> Result<(), CliError> {
    let nats_url = servers::nats(settings, running).await?;
    let redis_url = servers::redis(settings, running).await?;
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
    let (port, announced) = ports::start_near(&settings.host, settings.port, async |port| {
        let api = service("API", "api")?.env("HOST", &settings.host).env("PORT", port.to_string());
        start(api, SERVICE_GRACE, &running.stop_services, &mut running.services).await
    })
    .await?;
    // Nobody who asked for any port needs to hear that it is another one.
    if port != settings.port && settings.port != 0 {
        remark(format_args!("  port {} is in use: the API takes {port}", settings.port));
    }
    for _ in 0..settings.workers.get() {
        let worker = service("worker", "worker")?
            .env("CONCURRENCY", settings.concurrency.to_string())
            .env("THREADS_PER_PICTURE", settings.threads_per_picture.to_string());
        start(worker, SERVICE_GRACE, &running.stop_services, &mut running.services).await?;
    }
    let address = announced.trim_start_matches("listening on ");
    welcome(address, settings);
    Ok(())
}

fn welcome(address: &str, settings: &Settings) {
    let Settings { workers, concurrency, model, .. } = settings;
    remark(format_args!(
        "\nspotter is up: {workers} worker{s} × {concurrency} pictures at a time, model {model}\n\
         \n  API         {address}\
         \n  Swagger UI  {address}/docs\
         \n  try         curl -F file=@test_images/bus.jpg {address}/start_task\
         \n\nCtrl-C stops it; what is in the queue stays.\n",
        s = if workers.get() == 1 { "" } else { "s" },
    ));
}

/// Until Ctrl-C, or until a part has ended that will not come back.
async fn watch(running: &mut Running, interrupted: &CancellationToken) -> Result<(), CliError> {
    tokio::select! {
        () = interrupted.cancelled() => Ok(()),
        Some(ended) = running.services.join_next() => flatten(ended),
        Some(ended) = running.servers.join_next() => flatten(ended),
    }
}

/// Services first, so that they can still tell the servers how their last jobs ended.
async fn stop(mut running: Running) -> Result<(), CliError> {
    remark("stopping …");
    let impatient = shutdown::on_signal()?;
    let orderly = async {
        running.stop_services.cancel();
        while running.services.join_next().await.is_some() {}
        running.stop_servers.cancel();
        while running.servers.join_next().await.is_some() {}
        remark("stopped");
    };
    tokio::select! {
        () = orderly => {}
        // A second Ctrl-C: everything still running is killed when it is dropped.
        () = impatient.cancelled() => remark("stopped at once"),
    }
    Ok(())
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
