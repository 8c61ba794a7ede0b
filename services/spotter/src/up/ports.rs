//! Choosing ports that are free.

use std::{io, net::TcpListener};

use crate::error::CliError;

/// How many ports after the wanted one are tried before any free one is taken.
const NEIGHBOURS: u16 = 50;

/// The wanted port if it is free, else the first free one after it, else any.
///
/// It is free when this returns; nothing keeps it so.
pub(super) fn near(host: &str, wanted: u16) -> Result<u16, CliError> {
    let last = wanted.saturating_add(NEIGHBOURS);
    for port in (wanted..=last).chain([0]) {
        match TcpListener::bind((host, port)) {
            Ok(listener) => return Ok(listener.local_addr()?.port()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => {
                return Err(CliError::Usage(format!("cannot listen on {host}:{port}: {error}")));
            }
        }
    }
    Err(CliError::Unavailable(format!("no port is free on {host}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let chosen = near("127.0.0.1", port).unwrap();
        assert_ne!(chosen, port);
    }

    #[test]
    fn an_address_of_another_machine_is_a_usage_error() {
        assert!(matches!(near("192.0.2.1", 5000), Err(CliError::Usage(_))));
    }
}
