//! The command `healthcheck`: asks the process on this machine whether it is ready. Container engines can
//! only run a command, and with this one an image needs neither a shell nor curl.

use std::{io, process::ExitCode, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, ToSocketAddrs},
    time::timeout,
};

use crate::{lifecycle::exit, telemetry};

/// A process that takes longer to answer is not ready.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum size of the response, in bytes; more is ignored.
const MAX_RESPONSE_BYTES: u64 = 4096;
const REQUEST: &[u8] =
    b"GET /health/ready HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Why a process is not ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// Nothing listens there, or the connection failed.
    #[error("cannot connect: {0}")]
    Unreachable(#[from] io::Error),
    /// No answer within [`TIMEOUT`].
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Silent,
    /// The status of the response was not 200.
    #[error("the response was: {0}")]
    NotOk(String),
}

/// The command `healthcheck` of a service: requests `/health/ready` at `address`, logs what is wrong, and
/// exits with 0 or 1. Without an address the service has no probes to request, which is a configuration
/// error.
pub async fn command(address: Option<impl ToSocketAddrs>) -> ExitCode {
    telemetry::start(&telemetry::LogSettings::default());
    let Some(address) = address else {
        tracing::error!("PROBES_ADDRESS is not set: there is no probe to request");
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

/// Requests `/health/ready` at `address`. 0.0.0.0 is this machine, as on Linux.
///
/// # Errors
/// [`NotReady`] unless the answer's status is 200.
pub async fn ask(address: impl ToSocketAddrs) -> Result<(), NotReady> {
    let answer = timeout(TIMEOUT, request(address)).await.map_err(|_| NotReady::Silent)??;
    let status = answer.split_ascii_whitespace().nth(1);
    if answer.starts_with("HTTP/1.") && status == Some("200") {
        Ok(())
    } else {
        Err(NotReady::NotOk(answer.trim_end().to_owned()))
    }
}

async fn request(address: impl ToSocketAddrs) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    stream.take(MAX_RESPONSE_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::{TcpListener, TcpSocket};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        probes::{self, HealthSource, Probe},
        telemetry::metrics::Metrics,
    };

    struct Always(Result<(), &'static str>);

    impl HealthSource for Always {
        fn check(&self, probe: Probe) -> Result<(), String> {
            if probe == Probe::Ready { self.0.map_err(str::to_owned) } else { Ok(()) }
        }
    }

    /// Requests `/health/ready` from a process whose readiness is `ready`.
    async fn ask_process_that_is(ready: Result<(), &'static str>) -> Result<(), NotReady> {
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
    async fn a_ready_process_is_healthy_also_if_it_listens_on_all_addresses() {
        ask_process_that_is(Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn the_reason_is_reported() {
        let error = ask_process_that_is(Err("not connected to NATS")).await.unwrap_err();
        assert!(matches!(error, NotReady::NotOk(ref answer)
            if answer.starts_with("HTTP/1.0 503") && answer.ends_with("not connected to NATS")));
    }

    #[tokio::test]
    async fn a_process_that_does_not_listen_is_not_ready() {
        // The port is taken, and nothing listens on it.
        let held = TcpSocket::new_v4().unwrap();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = held.local_addr().unwrap();
        assert!(matches!(ask(address).await, Err(NotReady::Unreachable(_))));
    }

    #[tokio::test]
    async fn a_process_that_accepts_and_stays_silent_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Never accepted by the test: the operating system completes the connection all the same.
        assert!(matches!(ask(address).await, Err(NotReady::Silent)));
    }
}
