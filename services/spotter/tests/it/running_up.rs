//! A running `spotter up`.

use std::{fs, path::Path};

use tempfile::TempDir;
use testkit::{Process, ProcessBuilder};

use crate::harness::{TIMEOUT, spotter};

/// A running `spotter up` with a data folder of its own.
pub(crate) struct Up {
    pub(crate) process: Process,
    pub(crate) base: String,
    pub(crate) data: TempDir,
}

impl Up {
    pub(crate) fn start(port: u16) -> Self {
        let data = tempfile::tempdir().unwrap();
        let process = up(data.path(), port).start();
        Self::of(process, data)
    }

    /// Waits until it is ready.
    pub(crate) fn of(process: Process, data: TempDir) -> Self {
        let line = process.wait_for_line(|line| line.text.starts_with("  API "), TIMEOUT).text;
        let base = line.trim_start_matches("  API").trim().to_owned();
        // The last line of what it prints when it is ready.
        process.wait_for_line(|line| line.text.starts_with("Ctrl-C"), TIMEOUT);
        Self { process, base, data }
    }

    /// Stops it as Ctrl-C does.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.process.signal("INT");
        self.process.wait_exit(TIMEOUT).code()
    }
}

/// The command, with an empty file of settings: the developer's own `.env` must not have an effect.
pub(crate) fn up(data: &Path, port: u16) -> ProcessBuilder {
    with_settings(data, port, "")
}

/// As [`up`], with this text in its file of settings.
pub(crate) fn with_settings(data: &Path, port: u16, settings: impl AsRef<[u8]>) -> ProcessBuilder {
    let env_file = data.join("settings.env");
    fs::write(&env_file, settings).unwrap();
    let up = spotter(["up", "--port", &port.to_string(), "--data-dir"]).arg(data);
    up.arg("--env-file").arg(env_file)
}
