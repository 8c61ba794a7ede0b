//! The disk under the NATS server of our own: enough of it before the first start, and a server that failed to
//! write to it.
//!
//! Such a server keeps the error of each stream until it is restarted, however much room there is again, and
//! confirms nothing meanwhile. Nobody but us can restart it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use messaging::{Messaging, MessagingConfig, NatsServers, Role};
use service::files::{free_bytes, shown_size};
use tokio::{sync::OnceCell, time::sleep};

use crate::{error::CliError, output::remark};

/// How often the server is asked.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// How often the disk is looked at while it is full.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The least room for which a restart is worth while: the largest picture, its record and what the server writes
/// when it starts. With less it would fail again at once.
const LEAST_ROOM: u64 = 32 << 20;

/// No limit of the server's own. Without a setting it takes three quarters of what is free at its start for its
/// limit: after a start on a full disk it would refuse everything until the next one.
const SERVER_SETTINGS: &str = "# Written by `spotter up`.\njetstream { max_file_store: 1PB }\n";

/// Writes the server's settings into the data folder, unless they are there. Returns their path.
pub(super) fn server_settings(data_dir: &Path) -> Result<PathBuf, CliError> {
    let path = data_dir.join("nats.conf");
    // Also on a full disk a server that has run before can be started.
    if fs::read_to_string(&path).ok().as_deref() != Some(SERVER_SETTINGS) {
        fs::write(&path, SERVER_SETTINGS)
            .map_err(|source| CliError::Write { path: path.clone(), source })?;
    }
    Ok(path)
}

/// Says before a first start that the disk has too little room for the streams.
pub(super) fn check_room(store: &Path, config: &MessagingConfig) -> Result<(), CliError> {
    if store.join("jetstream").exists() {
        return Ok(());
    }
    let free = free_bytes(store)?;
    let needed = config.disk_bytes();
    if free >= needed {
        return Ok(());
    }
    let smaller = config.largest_queue(free).map_or(String::new(), |bytes| {
        format!("set QUEUE_MAX_BYTES to {bytes} ({}) or less, ", shown_size(bytes))
    });
    Err(CliError::Unavailable(format!(
        "{store} is on a disk with {free} free, and the queue needs {needed} at its first start: \
         2 × QUEUE_MAX_BYTES ({queue}), 512 MiB for dead letters, and a third more for records; \
         {smaller}make room, or name a folder on another disk with --data-dir",
        store = store.display(),
        free = shown_size(free),
        needed = shown_size(needed),
        queue = shown_size(config.limits.max_bytes),
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

    /// Completes with the reason once the server answers and cannot write, and its disk has room: when a
    /// restart will help.
    pub(super) async fn restart_helps(&self) -> String {
        let why = self.write_error().await;
        let mut is_told = false;
        loop {
            let free = free_bytes(&self.store);
            match free {
                Ok(free) if free < LEAST_ROOM => {
                    if !is_told {
                        remark(format_args!(
                            "NATS cannot write ({why}), and nothing is accepted: {} has {} free. It is \
                             restarted once there are {}",
                            self.store.display(),
                            shown_size(free),
                            shown_size(LEAST_ROOM),
                        ));
                        is_told = true;
                    }
                }
                // Another error than a full disk, or a quota: only a try will tell.
                Ok(_) | Err(_) => return why,
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn write_error(&self) -> String {
        loop {
            sleep(ASK_EVERY).await;
            let config = MessagingConfig::new(self.server.clone(), Role::Cli);
            // A server that is just starting again, or one that hangs: neither is our matter.
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
    fn a_disk_that_is_too_small_is_told_with_what_would_fit() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = MessagingConfig::new(NatsServers::default(), Role::Cli);
        config.limits.max_bytes = 1 << 50;
        let error = check_room(folder.path(), &config).unwrap_err().to_string();
        for said in ["QUEUE_MAX_BYTES", "--data-dir", " free", "1048576.00 GiB"] {
            assert!(error.contains(said), "{said}: {error}");
        }
        // A server that has its streams already is started all the same.
        fs::create_dir(folder.path().join("jetstream")).unwrap();
        check_room(folder.path(), &config).unwrap();
    }

    #[test]
    fn what_is_said_to_fit_fits() {
        let mut config = MessagingConfig::new(NatsServers::default(), Role::Cli);
        assert_eq!(shown_size(config.disk_bytes()), "3.33 GiB");
        for free in [1 << 30, 7 << 30] {
            config.limits.max_bytes = config.largest_queue(free).unwrap();
            assert!(config.disk_bytes() <= free, "{free}");
        }
        assert_eq!(config.largest_queue(600 << 20), None, "the dead letters alone take more");
    }
}
