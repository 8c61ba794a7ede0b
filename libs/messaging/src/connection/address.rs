//! The addresses of NATS servers, parsed where the configuration is read. The login is kept apart from them, so
//! that it reaches no log.

use std::{fmt, str::FromStr};

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;
use service::config::{
    address::{ADVICE, try_redact_list},
    secret::Secret,
};

/// The port of a NATS server where nothing is set.
const DEFAULT_PORT: u16 = 4222;

/// The servers of one deployment, and the login to them. Parsed from
/// `nats://[user[:password]@]host[:port]`, or `tls://…`, several with commas between them. `Display` and
/// `Debug` show neither user nor password.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsServers {
    /// The addresses without user and password: the client library logs them.
    pub(crate) addresses: Vec<ServerAddr>,
    /// User and password of the first URL that has a user.
    pub(crate) login: Option<Login>,
}

/// A user and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: Secret,
    pub(crate) password: Secret,
}

/// A text that is not a list of NATS addresses. The error does not quote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not a NATS address (not shown, since it may hold a password): expected nats://host:port, or \
     several with commas; {ADVICE}"
)]
pub struct InvalidNatsServers;

impl NatsServers {
    /// The server on this machine that listens on `port`.
    #[must_use]
    pub fn local(port: u16) -> Self {
        let address = format!("nats://127.0.0.1:{port}").parse();
        Self { addresses: address.into_iter().collect(), login: None }
    }
}

impl Default for NatsServers {
    /// `nats://127.0.0.1:4222`.
    fn default() -> Self {
        Self::local(DEFAULT_PORT)
    }
}

impl FromStr for NatsServers {
    type Err = InvalidNatsServers;

    fn from_str(urls: &str) -> Result<Self, Self::Err> {
        // The client library would take a part of a password for a host.
        if try_redact_list(urls).is_none() {
            return Err(InvalidNatsServers);
        }
        let mut servers = Self { addresses: Vec::new(), login: None };
        for url in urls.split(',').map(str::trim).filter(|url| !url.is_empty()) {
            let address: ServerAddr = url.parse().map_err(|_| InvalidNatsServers)?;
            let decoded =
                |text| Secret::from(percent_decode_str(text).decode_utf8_lossy().into_owned());
            let login = address.username().map(|user| Login {
                user: decoded(user),
                password: decoded(address.password().unwrap_or_default()),
            });
            servers.login = servers.login.or(login);
            servers.addresses.push(without_login(&address).map_err(|_| InvalidNatsServers)?);
        }
        if servers.addresses.is_empty() { Err(InvalidNatsServers) } else { Ok(servers) }
    }
}

impl fmt::Display for NatsServers {
    /// The addresses, with commas between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.addresses.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", address.as_url_str().trim_end_matches('/'))?;
        }
        Ok(())
    }
}

impl fmt::Debug for NatsServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NatsServers({self}, login: {})", self.login.is_some())
    }
}

fn without_login(address: &ServerAddr) -> std::io::Result<ServerAddr> {
    let mut url = address.clone().into_inner();
    // These fail only for a URL without a host.
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    cleared.map_err(|()| std::io::Error::other("no host"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(std::io::Error::other("no host"));
    }
    ServerAddr::from_url(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_an_address() {
        assert_eq!(NatsServers::default().to_string(), "nats://127.0.0.1:4222");
        assert_eq!("nats://127.0.0.1:4222".parse(), Ok(NatsServers::default()));
    }

    #[test]
    fn a_login_is_taken_out_of_the_address() {
        // A password with a bare comma splits the list; it must not be shown then either.
        assert!("nats://bob:p%40ss,nats://other:4333".parse::<NatsServers>().is_err());
        let servers: NatsServers = "nats://bob:p%40ss@one:4222, two:4333".parse().unwrap();
        assert_eq!(servers.to_string(), "nats://one:4222,nats://two:4333");
        let login = servers.login.as_ref().unwrap();
        assert_eq!((login.user.expose(), login.password.expose()), ("bob", "p@ss"));
        assert!(!format!("{servers:?}").contains("p@ss"));
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_a_password() {
        for bad in ["", " , ", "http://host", "nats://", "nats://bob:secret@"] {
            let error = bad.parse::<NatsServers>().unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    /// The parts of a password around each pair of reserved characters.
    const SECRETS: [&str; 3] = ["S3C", "RET", "PWD"];

    #[test]
    fn no_part_of_a_password_is_shown_whatever_is_not_escaped() {
        let reserved = ":/?#[]@!$&'()*+,;=%\\ \t\"<>^`{|}";
        for first in reserved.chars() {
            for second in reserved.chars() {
                let password = format!("S3C{first}RET{second}PWD");
                for url in [
                    format!("nats://u:{password}@host:4222"),
                    format!("nats://{password}@host"),
                    format!("{password}@host:4222"),
                    format!("tls://one,tls://u:{password}@host"),
                    format!("nats://u:{password}@one,two"),
                ] {
                    let shown = match url.parse::<NatsServers>() {
                        Ok(servers) => {
                            let config =
                                crate::MessagingConfig::new(servers.clone(), crate::Role::Api);
                            format!("{servers} {servers:?} {:?} {config:?}", servers.login)
                        }
                        Err(error) => format!("{error} {error:?}"),
                    };
                    let leaked = SECRETS.iter().find(|secret| shown.contains(*secret));
                    assert_eq!(leaked, None, "{url}: {shown}");
                }
            }
        }
    }

    #[test]
    fn a_password_that_is_escaped_as_advised_is_taken_as_it_was() {
        let reserved = ":/?#[]@!$&'()*+,;=%\\ \"<>^`{|}";
        let escaped: String = reserved.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let servers: NatsServers = format!("nats://u:{escaped}@host,other").parse().unwrap();
        assert_eq!(servers.to_string(), "nats://host,nats://other");
        assert_eq!(servers.login.unwrap().password.expose(), reserved);
        let error = "nats://u:p@S3/cret@host".parse::<NatsServers>().unwrap_err().to_string();
        assert!(error.contains("percent-encode") && error.contains("%2F for /"), "{error}");
    }
}
