//! How a child process is started: its program, arguments, variables, priority and log.

use std::{
    collections::HashMap, ffi::OsString, fs::OpenOptions, future::pending, io, num::NonZero,
    path::PathBuf, process::Stdio,
};

use rustix::{
    process::{Pid, setpriority_process},
    thread::set_current_timer_slack,
};
use service::files::find_on_path;
use tokio::process::{Child, Command};

use super::{probe::Server, storage::StorageWatch};
use crate::error::CliError;

/// How a child shows that it is ready.
#[derive(Debug, Clone)]
pub(super) enum Ready {
    /// It prints a line to its standard output.
    PrintsLine,
    /// It answers on its port and identifies itself.
    Answers(Server),
}

/// A child's share of the CPU when all cores are busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// The same as this process.
    Normal,
    /// A small share, for work that no client waits for at this moment.
    Background,
}

impl Priority {
    /// The niceness of background work: about a tenth of a normal process's share of a busy core.
    const BACKGROUND: i32 = 10;

    /// Linux keeps a niceness for each thread, and threads inherit it: a child that has just been
    /// spawned has one thread.
    fn apply(self, child: &Child) {
        let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let (Self::Background, Some(id)) = (self, id) {
            // This fails only if the child has ended, or where priorities cannot be set.
            let _ = setpriority_process(Some(id), Self::BACKGROUND);
        }
    }
}

/// How much later than requested the kernel may end a child's sleeps, in nanoseconds, so that it ends several at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimerSlack(pub(super) NonZero<u64>);

impl TimerSlack {
    /// Spawns the child with it. A process inherits it from the thread that spawns it.
    fn around(self, spawn: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
        // Without it the child only uses more CPU time.
        let _ = set_current_timer_slack(Some(self.0));
        let child = spawn();
        // Back to the default.
        let _ = set_current_timer_slack(None);
        child
    }
}

/// How to start a child process.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    program: PathBuf,
    args: Vec<OsString>,
    envs: HashMap<String, String>,
    priority: Priority,
    /// `None`: that of this process.
    timer_slack: Option<TimerSlack>,
    pub(super) ready: Ready,
    /// Detects that the process runs but cannot store.
    watch: Option<StorageWatch>,
    /// The file for its output; `None`: its standard error is this process's own.
    pub(super) log: Option<PathBuf>,
}

impl Spec {
    pub(super) fn new(name: &'static str, program: PathBuf, ready: Ready) -> Self {
        let priority = Priority::Normal;
        let (args, envs) = (Vec::new(), HashMap::new());
        let (timer_slack, watch, log) = (None, None, None);
        Self { name, program, args, envs, priority, timer_slack, ready, watch, log }
    }

    pub(super) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(super) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.envs.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn envs(mut self, envs: HashMap<String, String>) -> Self {
        self.envs.extend(envs);
        self
    }

    pub(super) fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    pub(super) fn timer_slack(mut self, timer_slack: TimerSlack) -> Self {
        self.timer_slack = Some(timer_slack);
        self
    }

    pub(super) fn watched(mut self, watch: StorageWatch) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Completes with the reason when the child should be restarted.
    pub(super) async fn needs_restart(&self) -> String {
        match &self.watch {
            Some(watch) => watch.needs_restart().await,
            None => pending().await,
        }
    }

    pub(super) fn log_to(mut self, file: PathBuf) -> Self {
        self.log = Some(file);
        self
    }

    /// Starts the process.
    ///
    /// # Errors
    /// If its log cannot be written, or the program cannot be started.
    pub(super) fn spawn(&self) -> Result<Child, CliError> {
        let mut command = self.command();
        command
            .args(&self.args)
            .envs(&self.envs)
            .stdin(Stdio::null())
            // In a process group of its own: Ctrl-C reaches only this process, which stops its children in order.
            .process_group(0)
            .kill_on_drop(true);
        match &self.log {
            Some(path) => {
                let unwritable = |source| CliError::Write { path: path.clone(), source };
                let log = OpenOptions::new().create(true).append(true).open(path);
                let log = log.map_err(unwritable)?;
                command.stderr(log.try_clone().map_err(unwritable)?).stdout(log);
            }
            None => {
                command.stdout(Stdio::piped());
            }
        }
        let spawned = match self.timer_slack {
            Some(timer_slack) => timer_slack.around(|| command.spawn()),
            None => command.spawn(),
        };
        let child = spawned.map_err(|error| {
            CliError::Unavailable(format!("{} cannot be started: {error}", self.program.display()))
        })?;
        self.priority.apply(&child);
        Ok(child)
    }

    /// Starts the program through `setpriv`, if it is installed: it asks the kernel to stop the child when this
    /// process is killed.
    fn command(&self) -> Command {
        match find_on_path("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "TERM", "--"]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        }
    }
}
