//! A child process whose output can be awaited.

mod spawner;

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::{START_TIMEOUT, poll_until};

/// The only variables that a process under test inherits: a HOST or NATS_URL in the developer's shell must not affect
/// a test.
const INHERITED: [&str; 6] =
    ["PATH", "HOME", "TMPDIR", "LANG", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];

/// How many of a process's last lines are shown when a test fails.
const LINES_SHOWN: usize = 300;

/// The stream that a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line that a process wrote, without its line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The stream it was written to.
    pub output: Output,
    /// The text; invalid UTF-8 is replaced.
    pub text: String,
}

impl Line {
    /// The line as JSON, if it is JSON.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.text).ok()
    }
}

/// A program, its arguments and its environment.
#[derive(Debug)]
pub struct ProcessBuilder {
    program: OsString,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
}

impl ProcessBuilder {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the working directory; by default it is the test's own.
    #[must_use]
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Starts the process.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(self) -> Process {
        let mut command = spawner::command(&self.program);
        command.args(&self.arguments).env_clear();
        for name in INHERITED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.variables);
        if let Some(folder) = self.folder {
            command.current_dir(folder);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = self.program.to_string_lossy().into_owned();
        let mut child = spawner::spawn(command)
            .unwrap_or_else(|error| panic!("{name} cannot be started through setpriv: {error}"));
        let log = Arc::new(Log::default());
        if let Some(stdout) = child.stdout.take() {
            log.follow(Output::Stdout, stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            log.follow(Output::Stderr, stderr);
        }
        Process { name, child, log }
    }
}

/// A running process; killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Log>,
}

impl Process {
    /// A builder for a process. Its environment is empty except for `PATH`, `HOME` and a few others that
    /// configure no service.
    pub fn builder(program: impl AsRef<OsStr>) -> ProcessBuilder {
        ProcessBuilder {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
            folder: None,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had, in KiB.
    ///
    /// # Panics
    /// If it has ended.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.split_ascii_whitespace().next()?.parse().ok());
        kib.expect("Linux counts it")
    }

    /// Every line it has written so far, in the order in which they were read.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.log.lines.lock().clone()
    }

    /// Every line it wrote, once both streams are closed. Blocks the thread.
    ///
    /// # Panics
    /// If a stream stays open: a child of the process may have inherited it.
    #[must_use]
    pub fn finished_lines(&self) -> Vec<Line> {
        let closed = poll_until(START_TIMEOUT, || (*self.log.closed.lock() == 2).then_some(()));
        assert!(closed.is_some(), "{} has exited but its output is still open", self.name);
        self.lines()
    }

    /// Waits for a line that `wanted` accepts; earlier lines count. Blocks the thread.
    ///
    /// # Panics
    /// If `timeout` passes first, or the process closes its output; the message contains what it wrote.
    pub fn wait_for_line(&self, wanted: impl Fn(&Line) -> bool, timeout: Duration) -> Line {
        self.wait_for_line_after(0, wanted, timeout)
    }

    /// As [`Process::wait_for_line`], without the first `skip` lines: the length of [`Process::lines`] at an
    /// earlier moment, to wait for something that happens after it.
    ///
    /// # Panics
    /// As [`Process::wait_for_line`].
    pub fn wait_for_line_after(
        &self,
        skip: usize,
        wanted: impl Fn(&Line) -> bool,
        timeout: Duration,
    ) -> Line {
        match self.log.wait(skip, &wanted, timeout) {
            Ok(line) => line,
            Err(why) => panic!("{}: {why}; it wrote:\n{}", self.name, self.transcript()),
        }
    }

    /// Sends SIGKILL and reaps it.
    pub fn kill9(&mut self) {
        // This fails only if it has already been reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM.
    pub fn terminate(&mut self) {
        self.signal("TERM");
    }

    /// Freezes it with SIGSTOP. Returns when all of its threads are stopped, or it has exited.
    ///
    /// # Panics
    /// If its threads keep running.
    pub fn stop(&mut self) {
        self.signal("STOP");
        let stands_still =
            poll_until(START_TIMEOUT, || (!is_moving(self.id()) || self.has_ended()).then_some(()));
        assert!(stands_still.is_some(), "{} does not stop", self.name);
    }

    fn has_ended(&mut self) -> bool {
        self.exit_status().is_some()
    }

    /// Resumes it after [`Process::stop`], with SIGCONT.
    pub fn cont(&mut self) {
        self.signal("CONT");
    }

    /// Sends the signal of this name, such as `INT`, unless the process has exited.
    ///
    /// # Panics
    /// If `sh` cannot send it.
    pub fn signal(&mut self, name: &str) {
        // Until it is reaped, its id cannot be reused.
        if self.exit_status().is_some() {
            return;
        }
        // The shell's built-in `kill`, which every shell has.
        let status = Command::new("sh")
            .args(["-c", &format!("kill -s {name} {}", self.id())])
            .status()
            .expect("sh can be started");
        assert!(status.success(), "SIG{name} could not be sent to {}", self.name);
    }

    /// Its exit status; `None` while it runs.
    ///
    /// # Panics
    /// If the operating system does not know the process.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of this process can be asked for")
    }

    /// Waits until it exits by itself. Blocks the thread.
    ///
    /// # Panics
    /// If it still runs after `timeout`; the message contains what it wrote.
    pub fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        poll_until(timeout, || self.exit_status()).unwrap_or_else(|| {
            panic!("{} still runs after {timeout:?}; it wrote:\n{}", self.name, self.transcript())
        })
    }

    pub(crate) fn transcript(&self) -> String {
        let texts: Vec<String> = self.lines().into_iter().map(|line| line.text).collect();
        texts.join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
        if thread::panicking() {
            // libtest and nextest show this with the failure, and most failures are explained by it.
            #[allow(clippy::print_stderr, reason = "a test's report goes to standard error")]
            {
                let lines = self.lines();
                let last = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
                let last: Vec<&str> = last.iter().map(|line| line.text.as_str()).collect();
                eprintln!("--- {} wrote, last lines:\n{}\n---", self.name, last.join("\n"));
            }
        }
    }
}

/// Whether any thread of this process is not stopped.
fn is_moving(process: u32) -> bool {
    let threads =
        std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let mut stats =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    // `ID (NAME) STATE …`; a name may contain brackets.
    stats.any(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
}

/// The lines that a process wrote, and a condition variable that is notified of each.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<Line>>,
    /// How many of the two streams are closed.
    closed: Mutex<usize>,
    changed: Condvar,
}

impl Log {
    fn follow(self: &Arc<Self>, output: Output, stream: impl Read + Send + 'static) {
        let log = Arc::clone(self);
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut bytes = Vec::new();
            while matches!(reader.read_until(b'\n', &mut bytes), Ok(length) if length > 0) {
                let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                log.lines.lock().push(Line { output, text });
                log.changed.notify_all();
                bytes.clear();
            }
            *log.closed.lock() += 1;
            // The lock is taken so that no waiter misses the notification between its check and its wait.
            drop(log.lines.lock());
            log.changed.notify_all();
        });
    }

    fn wait(
        &self,
        skip: usize,
        wanted: &impl Fn(&Line) -> bool,
        timeout: Duration,
    ) -> Result<Line, String> {
        let deadline = Instant::now() + timeout;
        let mut seen = skip;
        let mut lines = self.lines.lock();
        loop {
            if let Some(line) = lines.iter().skip(seen).find(|line| wanted(line)) {
                return Ok(line.clone());
            }
            seen = seen.max(lines.len());
            if *self.closed.lock() == 2 {
                return Err("its output was closed without the expected line".to_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("the expected line did not appear within {timeout:?}"));
            }
            self.changed.wait_for(&mut lines, left);
        }
    }
}
