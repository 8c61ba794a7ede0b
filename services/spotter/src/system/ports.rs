//! Choosing ports that are free, and another one when somebody else was faster.

use std::{io, net::TcpListener};

use service::host::Host;

use super::child::StartError;
use crate::error::CliError;

/// How many ports after the wanted one are tried before any free one is taken.
const NEIGHBOURS: u16 = 50;

/// The wanted port if it is free, else the first free one after it, else any.
///
/// It is free when this returns; nothing keeps it so. See [`start_near`].
fn near(host: &Host, wanted: u16) -> Result<u16, CliError> {
    let last = wanted.saturating_add(NEIGHBOURS);
    for port in (wanted..=last).chain([0]) {
        match TcpListener::bind((host.as_str(), port)) {
            Ok(listener) => return Ok(listener.local_addr()?.port()),
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

/// Starts a server on a port chosen as [`near`] does, and on another one when it ends at once, as
/// it does when somebody else took the port before it could. Returns the port, and what `start`
/// returned.
///
/// # Errors
/// What `start` fails with, at once or the last of three times.
pub(super) async fn start_near<T>(
    host: &Host,
    wanted: u16,
    mut start: impl AsyncFnMut(u16) -> Result<T, StartError>,
) -> Result<(u16, T), CliError> {
    // Many that start at one moment all want the same neighbours; the last try is out of their way.
    let tries = [wanted, wanted, 0];
    let mut last = None;
    for wanted in tries {
        let port = near(host, wanted)?;
        match start(port).await {
            Ok(started) => return Ok((port, started)),
            // A server may call a port that is taken a bad setting, which would not get better.
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
    async fn a_port_that_is_snatched_is_given_up_for_another() {
        for error in [StartError::Ended as Kind, StartError::Failed] {
            // Whoever is faster than our server, twice.
            let mut faster = Vec::new();
            let loopback = Host::default();
            let started = start_near(&loopback, 0, async |port| {
                if faster.len() < 2 {
                    faster.push(TcpListener::bind(("127.0.0.1", port)).unwrap());
                }
                TcpListener::bind(("127.0.0.1", port)).map_err(|source| error(source.into()))
            });
            let (port, listener) = started.await.unwrap();
            assert_eq!(listener.local_addr().unwrap().port(), port);
            assert_eq!(faster.len(), 2);
        }
    }

    #[tokio::test]
    async fn a_server_that_will_not_run_is_not_tried_for_ever() {
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
    fn a_taken_port_is_passed_over() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let chosen = near(&Host::default(), port).unwrap();
        assert_ne!(chosen, port);
    }

    #[test]
    fn an_address_of_another_machine_is_a_usage_error() {
        assert!(matches!(near(&"192.0.2.1".parse().unwrap(), 5000), Err(CliError::Usage(_))));
    }
}
