//! Asking this machine's own process whether it is ready, for container engines that can only run a
//! command. An image then needs no shell and no curl for it.

use std::{io, process::ExitCode, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, ToSocketAddrs},
    time::timeout,
};

use crate::{lifecycle::exit, telemetry};

/// A process that takes longer is not ready.
const PATIENCE: Duration = Duration::from_secs(3);
/// More than an answer to this question ever has. In bytes.
const LONGEST_ANSWER: u64 = 4096;
const QUESTION: &[u8] =
    b"GET /health/ready HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Why a process is not to be given work.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// Nobody answers there.
    #[error("nobody answers: {0}")]
    Unreachable(#[from] io::Error),
    /// No answer within [`PATIENCE`].
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// The process, or somebody else in its place, said something other than 200.
    #[error("the answer was: {0}")]
    Refused(String),
}

/// What a service's command `healthcheck` does: asks at `address`, says what is wrong and ends with 0
/// or 1. Without an address the process serves no probes, which is a wrong setting.
pub async fn command(address: Option<impl ToSocketAddrs>) -> ExitCode {
    telemetry::start(&telemetry::LogSettings::default());
    let Some(address) = address else {
        tracing::error!("PROBES_ADDRESS is not set, so there is nothing to ask");
        return exit::code(exit::USAGE);
    };
    match ask(address).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("not ready: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Asks for `/health/ready` at `address`, where 0.0.0.0 means this machine, as it does on Linux.
///
/// # Errors
/// [`NotReady`] unless the answer's status is 200.
pub async fn ask(address: impl ToSocketAddrs) -> Result<(), NotReady> {
    let answer = timeout(PATIENCE, converse(address)).await.map_err(|_| NotReady::Silent)??;
    let status = answer.split_ascii_whitespace().nth(1);
    if answer.starts_with("HTTP/1.") && status == Some("200") {
        Ok(())
    } else {
        Err(NotReady::Refused(answer.trim_end().to_owned()))
    }
}

async fn converse(address: impl ToSocketAddrs) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(QUESTION).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::{TcpListener, TcpSocket};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        probes::{self, Probe, Vitals},
        telemetry::metrics::Metrics,
    };

    struct Always(Result<(), &'static str>);

    impl Vitals for Always {
        fn check(&self, probe: Probe) -> Result<(), String> {
            if probe == Probe::Ready { self.0.map_err(str::to_owned) } else { Ok(()) }
        }
    }

    /// Asks a process whose readiness is `ready`.
    async fn ask_one_that_is(ready: Result<(), &'static str>) -> Result<(), NotReady> {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let end = CancellationToken::new();
        let _guard = end.clone().drop_guard();
        tokio::spawn(probes::serve(
            listener,
            Arc::new(Always(ready)),
            Metrics::new().unwrap(),
            end,
        ));
        ask(address).await
    }

    #[tokio::test]
    async fn a_process_that_is_ready_is_healthy_also_where_it_listens_everywhere() {
        ask_one_that_is(Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_told() {
        let error = ask_one_that_is(Err("not connected to NATS")).await.unwrap_err();
        assert!(matches!(error, NotReady::Refused(ref answer)
            if answer.starts_with("HTTP/1.0 503") && answer.ends_with("not connected to NATS")));
    }

    #[tokio::test]
    async fn nobody_is_not_healthy() {
        // Nobody else can have the port, and nobody listens on it.
        let held = TcpSocket::new_v4().unwrap();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = held.local_addr().unwrap();
        assert!(matches!(ask(address).await, Err(NotReady::Unreachable(_))));
    }

    #[tokio::test]
    async fn one_that_accepts_and_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Never accepted by the test: the operating system completes the connection all the same.
        assert!(matches!(ask(address).await, Err(NotReady::Silent)));
    }
}
