//! One child process: started, waited for until it is of use, started again when it ends, stopped.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, OpenOptions},
    future::pending,
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, setpriority_process};
use service::{exit, files::find_on_path};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{probe::Server, storage::StorageWatch};
use crate::{error::CliError, output::remark};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const FIRST_RESTART_DELAY: Duration = Duration::from_secs(1);
const LONGEST_RESTART_DELAY: Duration = Duration::from_secs(30);
/// A child that ran for so long was in order, and what ended it is news.
const IN_ORDER_AFTER: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(20);

/// How a child shows that it is of use.
#[derive(Debug, Clone)]
pub(super) enum Ready {
    /// It prints a line to its standard output.
    Announced,
    /// It answers, and it is the server that answers.
    Answers(Server),
}

/// Who goes first when all cores are busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// As this process.
    Normal,
    /// After it: work that nobody waits for at this moment.
    Background,
}

impl Priority {
    /// The niceness of work in the background: about a tenth of the others' share of a busy core.
    const BACKGROUND: i32 = 10;

    /// Linux keeps a niceness for each thread, and threads inherit it: a child that has just been
    /// spawned has one thread.
    fn give(self, child: &Child) {
        let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let (Self::Background, Some(id)) = (self, id) {
            // It can only fail for a child that has ended, or where nothing may have a priority.
            let _ = setpriority_process(Some(id), Self::BACKGROUND);
        }
    }
}

/// Why a child did not start.
#[derive(Debug)]
pub(super) enum StartError {
    /// It ended before it was of use: on another port it may do better.
    Ended(CliError),
    /// Anything else; another try will not help.
    Failed(CliError),
}

impl From<CliError> for StartError {
    fn from(error: CliError) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Ended(error) | StartError::Failed(error) => error,
        }
    }
}

/// What to start, and how.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    name: &'static str,
    program: PathBuf,
    args: Vec<OsString>,
    envs: HashMap<String, String>,
    priority: Priority,
    ready: Ready,
    /// What finds out that it runs and is of no use; `None`: nothing does.
    watch: Option<StorageWatch>,
    /// Where its output goes; `None` lets it share our standard error.
    log: Option<PathBuf>,
}

impl Spec {
    pub(super) fn new(name: &'static str, program: PathBuf, ready: Ready) -> Self {
        let priority = Priority::Normal;
        let (args, envs) = (Vec::new(), HashMap::new());
        Self { name, program, args, envs, priority, ready, watch: None, log: None }
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

    pub(super) fn watched(mut self, watch: StorageWatch) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Completes with the reason once a restart of it will help.
    async fn restart_helps(&self) -> String {
        match &self.watch {
            Some(watch) => watch.restart_helps().await,
            None => pending().await,
        }
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
        let child = command.spawn().map_err(|error| {
            CliError::Unavailable(format!("{} cannot be started: {error}", self.program.display()))
        })?;
        self.priority.give(&child);
        Ok(child)
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

    fn early_end(&self, status: ExitStatus) -> StartError {
        if cannot_run(status) {
            return StartError::Failed(self.usage());
        }
        let mut text = format!("{} ended while it was starting ({status})", self.name);
        if let Some(log) = &self.log {
            let lines = fs::read_to_string(log).unwrap_or_default();
            let last = lines.lines().rev().take(5).collect::<Vec<_>>();
            let last = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
            text += &format!("; the end of {}:\n  {last}", log.display());
        }
        StartError::Ended(CliError::Unavailable(text))
    }

    fn usage(&self) -> CliError {
        CliError::Usage(format!("{} cannot run as configured", self.name))
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
) -> Result<String, StartError> {
    let mut child = spec.spawn()?;
    let announcement = timeout(START_TIMEOUT, wait_until_ready(&spec, &mut child)).await;
    let announcement = announcement.map_err(|_| {
        CliError::Unavailable(format!("{} did not start within {START_TIMEOUT:?}", spec.name))
    })??;
    tasks.spawn(supervise(spec, child, grace, stop.clone()));
    Ok(announcement)
}

async fn wait_until_ready(spec: &Spec, child: &mut Child) -> Result<String, StartError> {
    match &spec.ready {
        Ready::Announced => {
            let Some(stdout) = child.stdout.take() else { return Ok(String::new()) };
            let line = BufReader::new(stdout).lines().next_line().await?;
            match line {
                Some(line) => Ok(line),
                None => Err(spec.early_end(child.wait().await?)),
            }
        }
        Ready::Answers(server) => loop {
            if let Some(status) = child.try_wait()? {
                return Err(spec.early_end(status));
            }
            // `setpriv` becomes the server: the child's id is the server's own.
            if server.is(child.id().unwrap_or(0)).await {
                return Ok(String::new());
            }
            sleep(ASK_EVERY).await;
        },
    }
}

/// How long to wait before a child is started again: twice as long each time, and from the
/// beginning once it has run well.
#[derive(Debug)]
struct Backoff {
    next: Duration,
}

impl Backoff {
    fn new() -> Self {
        Self { next: FIRST_RESTART_DELAY }
    }

    /// The delay after a child that ran for `ran`.
    fn delay(&mut self, ran: Duration) -> Duration {
        if ran > IN_ORDER_AFTER {
            self.next = FIRST_RESTART_DELAY;
        }
        let delay = self.next;
        self.next = (delay * 2).min(LONGEST_RESTART_DELAY);
        delay
    }
}

/// Whether a child has said why it cannot run, and would say it again.
fn cannot_run(status: ExitStatus) -> bool {
    status.code() == Some(exit::USAGE.into())
}

async fn supervise(
    spec: Spec,
    mut child: Child,
    grace: Duration,
    stop: CancellationToken,
) -> Result<(), CliError> {
    let mut backoff = Backoff::new();
    loop {
        let started = Instant::now();
        let ended = tokio::select! {
            status = child.wait() => Ok(status?),
            why = spec.restart_helps() => Err(why),
            () = stop.cancelled() => return end(&spec, child, grace).await,
        };
        let delay = backoff.delay(started.elapsed());
        match ended {
            Ok(status) if cannot_run(status) => return Err(spec.usage()),
            Ok(status) => remark(format_args!(
                "{} ended ({status}); starting it again in {delay:?}",
                spec.name
            )),
            Err(why) => {
                remark(format_args!(
                    "{} could not write ({why}) and is restarted in {delay:?}; its data stays",
                    spec.name
                ));
                end(&spec, child, grace).await?;
            }
        }
        match start_again(&spec, delay, &mut backoff, &stop).await {
            Some(fresh) => child = fresh,
            None => return Ok(()),
        }
    }
}

/// Starts a child after `delay`, again and again until it starts. `None`: asked to stop meanwhile.
async fn start_again(
    spec: &Spec,
    mut delay: Duration,
    backoff: &mut Backoff,
    stop: &CancellationToken,
) -> Option<Child> {
    loop {
        tokio::select! {
            () = sleep(delay) => {}
            () = stop.cancelled() => return None,
        }
        match spec.spawn() {
            Ok(child) => return Some(child),
            Err(error) => {
                delay = backoff.delay(Duration::ZERO);
                remark(format_args!("{}: {error}; trying again in {delay:?}", spec.name));
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_begin_anew_after_a_good_run() {
        let mut backoff = Backoff::new();
        let mut after = |seconds| backoff.delay(Duration::from_secs(seconds)).as_secs();
        assert_eq!([0, 1, 2, 60, 0, 0, 0].map(&mut after), [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!([61, 0, 3600].map(&mut after), [1, 2, 1]);
    }

    #[tokio::test]
    async fn a_child_that_cannot_be_started_again_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        fs::create_dir(&logs).unwrap();
        let log = logs.join("child.log");
        // Without a folder for its log it cannot be started: it takes its own away before it ends.
        let script = "rm -r \"$1\"; exit 1";
        let spec = Spec::new("child", "sh".into(), Ready::Announced)
            .args(["-c", script, "sh"])
            .arg(&logs)
            .log_to(log);
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        start(spec, Duration::from_secs(5), &stop, &mut tasks).await.unwrap();
        for _ in 0..2 {
            testkit::eventually(Duration::from_secs(30), async || (!logs.exists()).then_some(()))
                .await;
            // Longer than the first delay: the first try finds no folder.
            let ended = timeout(FIRST_RESTART_DELAY * 2, tasks.join_next()).await;
            assert!(ended.is_err(), "nobody tries any more: {ended:?}");
            fs::create_dir(&logs).unwrap();
        }
        stop.cancel();
        assert!(matches!(tasks.join_next().await, Some(Ok(Ok(())))));
    }

    #[tokio::test]
    async fn how_a_child_ends_tells_whether_another_try_may_help() {
        let cases = [("exit 1", true), ("exit 69", true), ("exit 64", false)];
        for (script, may_help) in cases {
            let spec = Spec::new("child", "sh".into(), Ready::Announced).args(["-c", script]);
            let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
            let error = start(spec, Duration::ZERO, &stop, &mut tasks).await.unwrap_err();
            assert_eq!(matches!(error, StartError::Ended(_)), may_help, "{script}: {error:?}");
            assert_eq!(matches!(error, StartError::Failed(CliError::Usage(_))), !may_help);
        }
    }
}
