//! The disk of the NATS server that the supervisor starts: checks its free space before the first start, and detects
//! a server that failed to write.
//!
//! Such a server keeps each stream's write error until it is restarted, even after space was changed, and acknowledges
//! no publish meanwhile. Only the supervisor can restart it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use messaging::{Messaging, MessagingConfig, NatsServers, Role};
use service::files::{free_bytes, human_size};
use tokio::{sync::OnceCell, time::sleep};

use crate::{error::CliError, output::notice};

/// How often the server is probed for write errors.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// How often the free space is checked while the disk is full.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The free space that a restart needs: for the largest picture, its record and what the server writes when it starts.
/// With less it would fail again at once.
const LEAST_FREE: u64 = 32 << 20;

/// Disables the server's own storage limit. Its default is three quarters of the free space at its start: after a
/// start on a full disk it would refuse everything until the next restart.
const SERVER_SETTINGS: &str = "# Written by `spotter up`.\njetstream { max_file_store: 1PB }\n";

/// Writes the server's configuration into the data folder, unless it is there. Returns its path.
pub(super) fn server_settings(data_dir: &Path) -> Result<PathBuf, CliError> {
    let path = data_dir.join("nats.conf");
    // A server that has run before can be started on a full disk.
    if fs::read_to_string(&path).ok().as_deref() != Some(SERVER_SETTINGS) {
        fs::write(&path, SERVER_SETTINGS)
            .map_err(|source| CliError::Write { path: path.clone(), source })?;
    }
    Ok(path)
}

/// Checks before the first start that the disk has room for the streams.
///
/// # Errors
/// [`CliError::Unavailable`] with the space that is needed, and the largest queue that fits.
pub(super) fn check_free_space(store: &Path, config: &MessagingConfig) -> Result<(), CliError> {
    if store.join("jetstream").exists() {
        return Ok(());
    }
    let free = free_bytes(store)?;
    let needed = config.disk_bytes();
    if free >= needed {
        return Ok(());
    }
    let smaller = config.largest_queue(free).map_or(String::new(), |bytes| {
        format!("set QUEUE_MAX_BYTES to {bytes} ({}) or less, ", human_size(bytes))
    });
    Err(CliError::Unavailable(format!(
        "{store} is on a disk with {free} free, and the queue needs {needed} at its first start: \
         2 × QUEUE_MAX_BYTES ({queue}), 512 MiB for dead letters, DRAWINGS_MAX_BYTES ({drawings}){events}, and a \
         third more for records; \
         {smaller}make room, or name a folder on another disk with --data-dir",
        store = store.display(),
        free = human_size(free),
        needed = human_size(needed),
        queue = human_size(config.limits.max_bytes),
        drawings = human_size(config.drawing_bytes),
        events = config.events_advice(),
    )))
}

/// Watches a server for write errors. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct StorageWatch {
    server: NatsServers,
    store: PathBuf,
    connection: OnceCell<Messaging>,
}

impl StorageWatch {
    pub(super) fn new(server: NatsServers, store: PathBuf) -> Self {
        Self { server, store, connection: OnceCell::new() }
    }

    /// Completes with the write error once the server answers but cannot write, and its disk has room again.
    pub(super) async fn needs_restart(&self) -> String {
        let why = self.write_error().await;
        if let Some(free) = self.free_if_full() {
            notice(format_args!(
                "NATS cannot write ({why}), and no job is accepted: {} has {} free. NATS is restarted once {} are free",
                self.store.display(),
                human_size(free),
                human_size(LEAST_FREE),
            ));
            while self.free_if_full().is_some() {
                sleep(CHECK_EVERY).await;
            }
        }
        why
    }

    /// The free space, if it is too little for a restart. `None` also where it is not the disk that is full, but a quota:
    /// only a restart shows whether it helps.
    fn free_if_full(&self) -> Option<u64> {
        free_bytes(&self.store).ok().filter(|free| *free < LEAST_FREE)
    }

    async fn write_error(&self) -> String {
        loop {
            sleep(PROBE_EVERY).await;
            let config = MessagingConfig::new(self.server.clone(), Role::Cli);
            // The server is restarting, or hangs: neither is a write error.
            let Ok(messaging) =
                self.connection.get_or_try_init(|| Messaging::connect(config)).await
            else {
                continue;
            };
            if let Some((_, why)) = messaging.find_write_error().await {
                return why;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_too_small_is_reported_with_what_would_fit() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = MessagingConfig::new(NatsServers::default(), Role::Cli);
        config.limits.max_bytes = 1 << 50;
        let error = check_free_space(folder.path(), &config).unwrap_err().to_string();
        for part in ["QUEUE_MAX_BYTES", "--data-dir", " free", "1048576.00 GiB"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        // A server that has its streams already is not checked.
        fs::create_dir(folder.path().join("jetstream")).unwrap();
        check_free_space(folder.path(), &config).unwrap();
    }

    #[test]
    fn the_largest_queue_fits() {
        let mut config = MessagingConfig::new(NatsServers::default(), Role::Cli);
        assert_eq!(human_size(config.disk_bytes()), "3.67 GiB");
        for free in [2 << 30, 7 << 30] {
            config.limits.max_bytes = config.largest_queue(free).unwrap();
            assert!(config.disk_bytes() <= free, "{free}");
        }
        assert_eq!(config.largest_queue(600 << 20), None, "the other streams alone take more");
    }
}
