//! The servers that the supervisor starts: NATS, which is required, and Redis, which is optional.

use std::{
    env, fs,
    num::NonZero,
    path::{Path, PathBuf},
    process,
    time::{SystemTime, UNIX_EPOCH},
};

use service::{
    config::host::Host,
    files::{find_on_path, find_upwards},
};

use super::{
    group::ProcessGroup,
    probe::Server,
    settings::{Queue, ResultCache, Settings},
    spec::{Ready, Spec, TimerSlack},
    storage::{self, StorageWatch},
};
use messaging::NatsServers;
use worker::cores;

use crate::{error::CliError, output::notice};

/// The path of the NATS server that set-up installs, relative to the project's root.
const NATS_SERVER: &str = ".cache/bin/nats-server";
const LOOPBACK: &str = "127.0.0.1";
const NATS_PORT: u16 = 4222;
const REDIS_PORT: u16 = 6379;

/// The timer slack of NATS: 1 ms. A thread of Go's runtime sleeps for 20 µs again and again while the server has work, as
/// it has in turn with the models. With the kernel's default of 50 µs it wakes up 19 times a picture, which costs a fifth
/// of the server's CPU time and interrupts the models. The timeouts of the server are seconds long.
const NATS_TIMER_SLACK: TimerSlack = TimerSlack(NonZero::new(1_000_000).unwrap());

/// Starts NATS with JetStream in the data folder, unless one is named. Returns the value that the services need for
/// `NATS_URL`; `None`: it is set already.
pub(super) async fn nats(
    settings: &Settings,
    servers: &mut ProcessGroup,
) -> Result<Option<String>, CliError> {
    if settings.queue == Queue::Named {
        notice("  NATS: the server in NATS_URL");
        return Ok(None);
    }
    let program = find_upwards(Path::new(NATS_SERVER))
        .or_else(|| find_on_path("nats-server"))
        .ok_or_else(|| {
            let problem = format!("nats-server is neither at {NATS_SERVER} nor on PATH");
            CliError::Usage(format!("{problem}; `make setup` installs it"))
        })?;
    let (store, log) = (folder(settings, "nats")?, log_file(settings, "nats.log")?);
    storage::check_free_space(&store, &settings.messaging)?;
    let (name, server_settings) = (server_name(), storage::server_settings(&settings.data_dir)?);
    let threads = env::var("GOMAXPROCS").unwrap_or_else(|_| nats_threads().to_string());
    let spec = |port: u16| {
        let ready = Ready::Answers(Server::Nats { port, name: name.clone() });
        let mut spec = Spec::new("NATS", program.clone(), ready);
        if let Some(ports_dir) = &settings.nats_ports_dir {
            // -1: any free port, which the server writes into a file there.
            spec = spec.args(["--http_port", "-1", "--ports_file_dir"]).arg(ports_dir);
        }
        Ok(spec
            .arg("--config")
            .arg(&server_settings)
            .args(["--addr", LOOPBACK, "--port", &port.to_string(), "--name", &name])
            .args(["--jetstream", "--store_dir"])
            .arg(&store)
            .watched(StorageWatch::new(NatsServers::local(port), store.clone()))
            .env("GOMAXPROCS", threads.clone())
            .timer_slack(NATS_TIMER_SLACK)
            .log_to(log.clone()))
    };
    let (port, _) = servers.start_near(&Host::default(), NATS_PORT, spec).await?;
    notice(format_args!("  NATS on port {port}, data in {}", settings.data_dir.display()));
    Ok(Some(format!("nats://{LOOPBACK}:{port}")))
}

/// How many threads of NATS run at a time. By default it is one for each core: they wake one another, and interrupt the
/// models that have the cores. On two cores, one thread took 2.2 ms of CPU a job instead of 2.6, and models were
/// interrupted 34 times a picture instead of 41. One thread serves hundreds of jobs a second, more than eight cores
/// detect.
fn nats_threads() -> usize {
    cores::all().get().div_ceil(8)
}

/// Starts Redis as a cache without persistence, unless one is named or it is not installed: every result is read from
/// the bucket then. Returns the value that the services need for `REDIS_URL`; `None`: it is as it must be.
pub(super) async fn redis(
    settings: &Settings,
    servers: &mut ProcessGroup,
) -> Result<Option<String>, CliError> {
    // An empty variable counts as not set: one in the environment must not apply.
    let without_cache = Ok(Some(String::new()));
    match settings.cache {
        ResultCache::Named => {
            notice("  Redis: the server in REDIS_URL");
            return Ok(None);
        }
        ResultCache::Absent => return without_cache,
        ResultCache::Own => {}
    }
    let Some(program) = find_on_path("redis-server") else {
        notice("  Redis: redis-server is not installed; running without a result cache");
        return without_cache;
    };
    let log = log_file(settings, "redis.log")?;
    let spec = |port: u16| {
        Ok(Spec::new("Redis", program.clone(), Ready::Answers(Server::Redis { port }))
            .args(["--bind", LOOPBACK, "--port", &port.to_string(), "--save", ""])
            .args(["--appendonly", "no", "--maxmemory", "256mb"])
            .args(["--maxmemory-policy", "allkeys-lru"])
            .log_to(log.clone()))
    };
    let (port, _) = servers.start_near(&Host::default(), REDIS_PORT, spec).await?;
    notice(format_args!("  Redis on port {port}"));
    Ok(Some(format!("redis://{LOOPBACK}:{port}")))
}

/// A unique server name. A process id alone is not unique across containers.
fn server_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("spotter-{}-{}", process::id(), now.as_nanos())
}

fn folder(settings: &Settings, name: &str) -> Result<PathBuf, CliError> {
    let folder = settings.data_dir.join(name);
    fs::create_dir_all(&folder)
        .map_err(|source| CliError::Write { path: folder.clone(), source })?;
    Ok(folder)
}

fn log_file(settings: &Settings, name: &str) -> Result<PathBuf, CliError> {
    Ok(folder(settings, "logs")?.join(name))
}
