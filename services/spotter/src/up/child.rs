//! One child process: started, waited for until it is of use, started again when it ends, stopped.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, OpenOptions},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use runtime::{exit, files::find_on_path};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{error::CliError, output::remark};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const FIRST_RESTART_DELAY: Duration = Duration::from_secs(1);
const LONGEST_RESTART_DELAY: Duration = Duration::from_secs(30);

/// How a child shows that it is of use.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ready {
    /// It prints a line to its standard output.
    Announced,
    /// It accepts connections on this loopback port.
    Listening(u16),
}

/// What to start, and how.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    name: &'static str,
    program: PathBuf,
    args: Vec<OsString>,
    envs: HashMap<String, String>,
    ready: Ready,
    /// Where its output goes; `None` lets it share our standard error.
    log: Option<PathBuf>,
}

impl Spec {
    pub(super) fn new(name: &'static str, program: PathBuf, ready: Ready) -> Self {
        Self { name, program, args: Vec::new(), envs: HashMap::new(), ready, log: None }
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

    pub(super) fn log_to(mut self, file: PathBuf) -> Self {
        self.log = Some(file);
        self
    }

    fn spawn(&self) -> Result<Child, CliError> {
        let mut command = self.command();
        command
            .args(&self.args)
            .envs(&self.envs)
            .stdin(Stdio::null())
            // Out of our process group, so that Ctrl-C reaches us alone and things stop in order.
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
        command.spawn().map_err(|error| {
            CliError::Unavailable(format!("{} cannot be started: {error}", self.program.display()))
        })
    }

    /// Through `setpriv`, where there is one, which asks the kernel to stop the child when we are
    /// killed and cannot stop it ourselves.
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

    fn early_end(&self, status: ExitStatus) -> CliError {
        let mut text = format!("{} ended while it was starting ({status})", self.name);
        if let Some(log) = &self.log {
            let lines = fs::read_to_string(log).unwrap_or_default();
            let last = lines.lines().rev().take(5).collect::<Vec<_>>();
            let last = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
            text += &format!("; the end of {}:\n  {last}", log.display());
        }
        CliError::Unavailable(text)
    }
}

/// Starts a child, waits until it is of use, and leaves it to a task in `tasks` that starts it again
/// whenever it ends and stops it when `stop` is cancelled. Returns what the child announced.
///
/// # Errors
/// If it cannot be started, or ends before it is of use.
pub(super) async fn start(
    spec: Spec,
    grace: Duration,
    stop: &CancellationToken,
    tasks: &mut JoinSet<Result<(), CliError>>,
) -> Result<String, CliError> {
    let mut child = spec.spawn()?;
    let announcement = timeout(START_TIMEOUT, wait_until_ready(&spec, &mut child)).await;
    let announcement = announcement.map_err(|_| {
        CliError::Unavailable(format!("{} did not start within {START_TIMEOUT:?}", spec.name))
    })??;
    tasks.spawn(supervise(spec, child, grace, stop.clone()));
    Ok(announcement)
}

async fn wait_until_ready(spec: &Spec, child: &mut Child) -> Result<String, CliError> {
    match spec.ready {
        Ready::Announced => {
            let Some(stdout) = child.stdout.take() else { return Ok(String::new()) };
            let line = BufReader::new(stdout).lines().next_line().await?;
            match line {
                Some(line) => Ok(line),
                None => Err(spec.early_end(child.wait().await?)),
            }
        }
        Ready::Listening(port) => loop {
            if let Some(status) = child.try_wait()? {
                return Err(spec.early_end(status));
            }
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Ok(String::new());
            }
            sleep(Duration::from_millis(20)).await;
        },
    }
}

async fn supervise(
    spec: Spec,
    mut child: Child,
    grace: Duration,
    stop: CancellationToken,
) -> Result<(), CliError> {
    let mut delay = FIRST_RESTART_DELAY;
    loop {
        let status = tokio::select! {
            status = child.wait() => status?,
            () = stop.cancelled() => return end(&spec, child, grace).await,
        };
        if status.code() == Some(exit::USAGE.into()) {
            // It has said why, and would say it again.
            return Err(CliError::Usage(format!("{} cannot run as configured", spec.name)));
        }
        remark(format_args!("{} ended ({status}); starting it again in {delay:?}", spec.name));
        tokio::select! {
            () = sleep(delay) => {}
            () = stop.cancelled() => return Ok(()),
        }
        delay = (delay * 2).min(LONGEST_RESTART_DELAY);
        child = spec.spawn()?;
    }
}

/// Asks a child to stop, and kills it when it has not stopped in time.
async fn end(spec: &Spec, mut child: Child, grace: Duration) -> Result<(), CliError> {
    let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    if let Some(pid) = pid {
        // Fails only if the child has just ended by itself.
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(grace, child.wait()).await.is_err() {
        remark(format_args!("{} did not stop within {grace:?} and is killed", spec.name));
        child.kill().await?;
    }
    Ok(())
}
