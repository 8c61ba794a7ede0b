//! Chooses free ports and reserves them; retries on another port if one is taken meanwhile.

use std::{
    io,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use service::config::host::Host;

use super::child::StartError;
use crate::error::CliError;

/// How many ports after the wanted one are tried before any free port is chosen.
const NEIGHBOURS: u16 = 50;

/// How often the operating system is asked for any port: one that it gives may be reserved.
const TRIES_FOR_ANY: usize = 20;

/// Keeps a port from every other `spotter up` on this machine until it is dropped or the process dies,
/// also while the server that listens there is restarted. Without it another system's NATS takes the
/// port meanwhile, and the API and the workers reconnect to that one.
///
/// It is a Unix socket with an abstract name, which the kernel gives to one process and takes back when
/// that process dies. Such names have no file, and belong to a network namespace as ports do.
#[derive(Debug)]
pub(super) struct PortReservation {
    _socket: UnixListener,
}

impl PortReservation {
    /// `None` if another system has it.
    fn of(host: &Host, port: u16) -> Result<Option<Self>, CliError> {
        let name = format!("spotter-port-{}", host.with_port(port));
        let name = SocketAddr::from_abstract_name(name.as_bytes())?;
        match UnixListener::bind_addr(&name) {
            Ok(socket) => Ok(Some(Self { _socket: socket })),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A server that runs on a port chosen for it.
#[derive(Debug)]
pub(super) struct StartedNear<T> {
    pub(super) port: u16,
    /// To be kept for as long as the server may be restarted.
    pub(super) reservation: PortReservation,
    /// What starting it returned.
    pub(super) started: T,
}

/// The wanted port if it is free and reserved by no other system, else the first such port after it,
/// else any.
///
/// Programs other than `spotter up` may still take it. See [`start_near`].
fn near(host: &Host, wanted: u16) -> Result<(u16, PortReservation), CliError> {
    // Port 0 asks for any: it has no neighbours.
    let neighbours = if wanted == 0 { 0 } else { NEIGHBOURS };
    for port in (wanted..=wanted.saturating_add(neighbours)).chain([0; TRIES_FOR_ANY]) {
        match TcpListener::bind((host.as_str(), port)) {
            Ok(listener) => {
                let port = listener.local_addr()?.port();
                if let Some(reservation) = PortReservation::of(host, port)? {
                    return Ok((port, reservation));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => {
                let address = host.with_port(port);
                return Err(CliError::Usage(format!("cannot listen on {address}: {error}")));
            }
        }
    }
    Err(CliError::Unavailable(format!("no port is free on {host}")))
}

fn is_free(host: &Host, port: u16) -> bool {
    TcpListener::bind((host.as_str(), port)).is_ok()
}

/// Starts a server on a port chosen by [`near`], and retries on another port if the server ends at once, as it does
/// when another program takes the port first.
///
/// # Errors
/// The error of `start` if a retry does not help, or that of the third attempt.
pub(super) async fn start_near<T>(
    host: &Host,
    wanted: u16,
    mut start: impl AsyncFnMut(u16) -> Result<T, StartError>,
) -> Result<StartedNear<T>, CliError> {
    // Systems that start at the same moment try the same ports; the last attempt takes any port.
    let tries = [wanted, wanted, 0];
    let mut last = None;
    for wanted in tries {
        let (port, reservation) = near(host, wanted)?;
        match start(port).await {
            Ok(started) => return Ok(StartedNear { port, reservation, started }),
            // A server may report a taken port as a configuration error, which is not retried otherwise.
            Err(StartError::Failed(error)) if is_free(host, port) => return Err(error),
            Err(StartError::Ended(error) | StartError::Failed(error)) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| CliError::Unavailable(format!("no port is free on {host}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Kind = fn(CliError) -> StartError;

    #[tokio::test]
    async fn a_port_that_is_taken_meanwhile_is_replaced_by_another() {
        for error in [StartError::Ended as Kind, StartError::Failed] {
            // Another program takes the port first, twice.
            let mut faster = Vec::new();
            let loopback = Host::default();
            let started = start_near(&loopback, 0, async |port| {
                if faster.len() < 2 {
                    faster.push(TcpListener::bind(("127.0.0.1", port)).unwrap());
                }
                TcpListener::bind(("127.0.0.1", port)).map_err(|source| error(source.into()))
            });
            let StartedNear { port, started, .. } = started.await.unwrap();
            assert_eq!(started.local_addr().unwrap().port(), port);
            assert_eq!(faster.len(), 2);
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_run_is_not_retried_for_ever() {
        for (error, expected) in [(StartError::Ended as Kind, 3), (StartError::Failed, 1)] {
            let mut tries = 0;
            let loopback = Host::default();
            let started = start_near(&loopback, 0, async |_| {
                tries += 1;
                Err::<(), _>(error(CliError::Unavailable("broken".to_owned())))
            });
            assert!(matches!(started.await, Err(CliError::Unavailable(_))));
            assert_eq!(tries, expected);
        }
    }

    #[test]
    fn a_taken_port_is_skipped() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let (chosen, _reservation) = near(&Host::default(), port).unwrap();
        assert_ne!(chosen, port);
    }

    #[test]
    fn a_port_stays_reserved_without_a_listener() {
        let loopback = Host::default();
        let (port, kept) = near(&loopback, 0).unwrap();
        let (other, _other) = near(&loopback, port).unwrap();
        assert_ne!(other, port);
        drop(kept);
        let (free_again, _again) = near(&loopback, port).unwrap();
        assert_eq!(free_again, port);
    }

    #[test]
    fn an_address_of_another_machine_is_a_usage_error() {
        assert!(matches!(near(&"192.0.2.1".parse().unwrap(), 5000), Err(CliError::Usage(_))));
    }
}
