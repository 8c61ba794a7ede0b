//! One child process: starts it, waits until it is ready, restarts it when it ends, stops it.

use std::{fs, io, process::ExitStatus, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use service::lifecycle::exit;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::spec::{Ready, Spec};
use crate::{error::CliError, output::notice};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const FIRST_RESTART_DELAY: Duration = Duration::from_secs(1);
const LONGEST_RESTART_DELAY: Duration = Duration::from_secs(30);
/// A child that ran for this long was healthy: the backoff starts from the beginning.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_millis(20);

/// Why a child did not start.
#[derive(Debug)]
pub(super) enum StartError {
    /// It ended before it was ready. Its port may be taken: a retry on another one may help.
    Ended(CliError),
    /// Anything else. A retry does not help.
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

/// Why a child ended before it was ready.
fn early_end(spec: &Spec, status: ExitStatus) -> StartError {
    if cannot_run(status) {
        return StartError::Failed(cannot_run_as_configured(spec));
    }
    let mut text = format!("{} exited while it was starting ({status})", spec.name);
    if let Some(log) = &spec.log {
        let lines = fs::read_to_string(log).unwrap_or_default();
        let last = lines.lines().rev().take(5).collect::<Vec<_>>();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
        text += &format!("; the last lines of {}:\n  {last}", log.display());
    }
    StartError::Ended(CliError::Unavailable(text))
}

fn cannot_run_as_configured(spec: &Spec) -> CliError {
    CliError::Usage(format!("{} cannot run as configured", spec.name))
}

/// Starts a child, waits until it is ready, and spawns a task into `tasks` that restarts the child whenever it ends
/// and stops it when `stop` is cancelled. Returns what the child announced.
///
/// # Errors
/// If it cannot be started, or ends before it is ready.
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
        Ready::PrintsLine => {
            let Some(stdout) = child.stdout.take() else { return Ok(String::new()) };
            let line = BufReader::new(stdout).lines().next_line().await?;
            match line {
                Some(line) => Ok(line),
                None => Err(early_end(spec, child.wait().await?)),
            }
        }
        Ready::Answers(server) => loop {
            if let Some(status) = child.try_wait()? {
                return Err(early_end(spec, status));
            }
            // `setpriv` becomes the server: the child's id is the server's own.
            if server.is(child.id().unwrap_or(0)).await {
                return Ok(String::new());
            }
            sleep(PROBE_EVERY).await;
        },
    }
}

/// The delay before a restart: doubles each time, and starts from the beginning after a healthy run.
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
        if ran > HEALTHY_AFTER {
            self.next = FIRST_RESTART_DELAY;
        }
        let delay = self.next;
        self.next = (delay * 2).min(LONGEST_RESTART_DELAY);
        delay
    }
}

/// Whether a child ended because of its configuration: a restart would fail the same way.
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
            why = spec.needs_restart() => Err(why),
            () = stop.cancelled() => return terminate(&spec, child, grace).await,
        };
        let delay = backoff.delay(started.elapsed());
        match ended {
            Ok(status) if cannot_run(status) => return Err(cannot_run_as_configured(&spec)),
            Ok(status) => {
                notice(format_args!("{} exited ({status}); restarting it in {delay:?}", spec.name))
            }
            Err(why) => {
                notice(format_args!(
                    "{} could not write ({why}); restarting it in {delay:?}, its data is kept",
                    spec.name
                ));
                terminate(&spec, child, grace).await?;
            }
        }
        match restart(&spec, delay, &mut backoff, &stop).await {
            Some(fresh) => child = fresh,
            None => return Ok(()),
        }
    }
}

/// Starts a child after `delay`, and retries until it starts. `None`: `stop` was cancelled first.
async fn restart(
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
                notice(format_args!("{}: {error}; retrying in {delay:?}", spec.name));
            }
        }
    }
}

/// Sends SIGTERM, and SIGKILL if the child still runs after `grace`.
async fn terminate(spec: &Spec, mut child: Child, grace: Duration) -> Result<(), CliError> {
    let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    if let Some(pid) = pid {
        // This fails only if the child has just ended by itself.
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(grace, child.wait()).await.is_err() {
        notice(format_args!("{} did not stop within {grace:?} and is killed", spec.name));
        child.kill().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_are_reset_by_a_healthy_run() {
        let mut backoff = Backoff::new();
        let mut after = |seconds| backoff.delay(Duration::from_secs(seconds)).as_secs();
        assert_eq!([0, 1, 2, 60, 0, 0, 0].map(&mut after), [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!([61, 0, 3600].map(&mut after), [1, 2, 1]);
    }

    #[tokio::test]
    async fn a_restart_that_fails_is_retried() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        fs::create_dir(&logs).unwrap();
        let log = logs.join("child.log");
        // It removes the folder of its log before it ends: without the folder it cannot be started.
        let script = "rm -r \"$1\"; exit 1";
        let spec = Spec::new("child", "sh".into(), Ready::PrintsLine)
            .args(["-c", script, "sh"])
            .arg(&logs)
            .log_to(log);
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        start(spec, Duration::from_secs(5), &stop, &mut tasks).await.unwrap();
        for _ in 0..2 {
            testkit::eventually(Duration::from_secs(30), async || (!logs.exists()).then_some(()))
                .await;
            // Longer than the first delay: the first attempt finds no folder.
            let ended = timeout(FIRST_RESTART_DELAY * 2, tasks.join_next()).await;
            assert!(ended.is_err(), "nothing retries any more: {ended:?}");
            fs::create_dir(&logs).unwrap();
        }
        stop.cancel();
        assert!(matches!(tasks.join_next().await, Some(Ok(Ok(())))));
    }

    #[tokio::test]
    async fn the_exit_code_decides_whether_a_retry_may_help() {
        let cases = [("exit 1", true), ("exit 69", true), ("exit 64", false)];
        for (script, may_help) in cases {
            let spec = Spec::new("child", "sh".into(), Ready::PrintsLine).args(["-c", script]);
            let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
            let error = start(spec, Duration::ZERO, &stop, &mut tasks).await.unwrap_err();
            assert_eq!(matches!(error, StartError::Ended(_)), may_help, "{script}: {error:?}");
            assert_eq!(matches!(error, StartError::Failed(CliError::Usage(_))), !may_help);
        }
    }
}
