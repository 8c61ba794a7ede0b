//! A shell in which the commands of the page run as a user would type them.

use std::{env, fs, os::unix::fs::symlink, path::PathBuf, time::Duration};

use tempfile::TempDir;
use testkit::{Process, workspace_root};

use crate::harness::Ended;

/// The address of the API in the page.
const SHOWN: &str = "http://127.0.0.1:5000";

/// Only a run that hangs takes this long; it may have to fetch packages.
const LONGEST: Duration = Duration::from_secs(9 * 60);

/// `scripts/recipe-packages` ends with it where the packages cannot be had.
const SKIPPED: i32 = 77;

/// A shell ends with it where there is no such program, such as Python.
const NO_SUCH_PROGRAM: i32 = 127;

/// Its working directory looks like the root of the repository; what commands write there is removed with it.
pub(super) struct Shell {
    folder: TempDir,
    variables: Vec<(String, String)>,
    shown_and_actual: Vec<(String, String)>,
}

impl Shell {
    /// The commands talk to this API.
    pub(super) fn new(api: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["docs", "test_images"] {
            symlink(workspace_root().join(name), folder.path().join(name)).unwrap();
        }
        fs::create_dir(folder.path().join("bin")).unwrap();
        symlink(env!("CARGO_BIN_EXE_spotter"), folder.path().join("bin/spotter")).unwrap();
        let shell = Self { folder, variables: Vec::new(), shown_and_actual: Vec::new() };
        let path = format!("{}:{}", shell.path("bin"), env::var("PATH").unwrap());
        let home = shell.path("");
        shell
            .with("PATH", &path)
            .with("TMPDIR", &home)
            .with("SPOTTER_API", api)
            .showing(SHOWN, api)
            .showing("curl ", "curl --silent --show-error --fail-with-body ")
    }

    /// With this environment variable.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With `actual` where commands have `shown`.
    pub(super) fn showing(mut self, shown: &str, actual: &str) -> Self {
        self.shown_and_actual.push((shown.to_owned(), actual.to_owned()));
        self
    }

    /// The path of a file in its working directory.
    pub(super) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(super) fn start(&self, command: &str) -> Process {
        let mut command = command.to_owned();
        for (shown, actual) in &self.shown_and_actual {
            command = command.replace(shown, actual);
        }
        let shell = Process::builder("bash").args(["-euo", "pipefail", "-c", &command]);
        let shell = shell.current_dir(self.folder.path());
        self.variables.iter().fold(shell, |shell, (name, value)| shell.env(name, value)).start()
    }

    /// Runs a command to its end.
    pub(super) fn ended(&self, command: &str) -> Ended {
        Ended::after(self.start(command))
    }

    /// What a command prints that succeeds.
    pub(super) fn run(&self, command: &str) -> String {
        let ended = self.ended(command);
        assert_eq!(ended.code, Some(0), "{command}: {ended:?}");
        ended.stdout.join("\n")
    }
}

/// The path of a program. Without it, the test says that it is skipped.
#[allow(clippy::print_stderr, reason = "a test's report goes to standard error")]
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Where Debian has servers; users other than root have no such folder in PATH.
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: {name} is missing; `make setup-tests` installs it");
    }
    found
}

/// PYTHONPATH for a recipe in Python. Without its packages, the test says that it is skipped.
#[allow(clippy::print_stderr, reason = "a test's report goes to standard error")]
pub(super) fn python_path(recipe: &str) -> Option<String> {
    let script = workspace_root().join("scripts/recipe-packages");
    assert!(script.is_file(), "{} is missing", script.display());
    let mut run = Process::builder(script).arg(recipe).start();
    run.wait_exit(LONGEST);
    let ended = Ended::after(run);
    match ended.code {
        Some(0) => Some(ended.stdout.join("\n")),
        Some(SKIPPED | NO_SUCH_PROGRAM) => {
            eprintln!("SKIPPED: {recipe} was not run: {}", ended.stderr.join("\n"));
            None
        }
        _ => panic!("{ended:#?}"),
    }
}
