//! Starts child processes so that they cannot outlive the test process.

use std::{
    ffi::OsStr,
    io,
    process::{Child, Command},
    sync::{OnceLock, mpsc},
    thread,
};

struct Request {
    command: Command,
    reply: mpsc::Sender<io::Result<Child>>,
}

/// A command that runs `program` and is killed by the kernel when its parent dies, even by SIGKILL.
///
/// `setpriv` (util-linux) requests that signal and then executes `program`: the process and its id stay the same.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Starts `command` from a thread that lives as long as this process.
///
/// The parent-death signal is sent when the *thread* that forked ends, not its process. Test threads and tokio's
/// blocking threads end early, which would kill their children.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, inbox) = mpsc::channel::<Request>();
        thread::Builder::new()
            .name("testkit-spawner".to_owned())
            .spawn(move || {
                for mut request in inbox {
                    let _ = request.reply.send(request.command.spawn());
                }
            })
            .expect("a thread can be started");
        requests
    });
    let (reply, answer) = mpsc::channel();
    spawner.send(Request { command, reply }).expect("the spawner never ends");
    answer.recv().expect("the spawner answers every request")
}
