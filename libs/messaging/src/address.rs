//! Server addresses with their password set apart, so that it reaches no log.

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;
use service::address::{ADVICE, shown_list};

use crate::MessagingError;

/// The servers of a comma-separated list, and the login its URLs carried.
#[derive(Debug)]
pub(crate) struct Servers {
    /// The addresses without user and password: the client library logs them.
    pub(crate) addresses: Vec<ServerAddr>,
    /// User and password of the first URL that has a user.
    pub(crate) login: Option<Login>,
}

/// A user and a password. `Debug` shows neither.
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(redacted)")
    }
}

impl Servers {
    /// Reads `nats://[user[:password]@]host[:port]`, one or several with commas between them.
    pub(crate) fn parse(urls: &str) -> Result<Self, MessagingError> {
        // The client library would take the part of a password for a host.
        if shown_list(urls).is_none() {
            return Err(MessagingError::Address { advice: ADVICE });
        }
        let mut servers = Self { addresses: Vec::new(), login: None };
        for url in urls.split(',').map(str::trim).filter(|url| !url.is_empty()) {
            let address: ServerAddr = url.parse().map_err(|_| invalid())?;
            let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let login = address.username().map(|user| Login {
                user: decoded(user),
                password: decoded(address.password().unwrap_or_default()),
            });
            servers.login = servers.login.or(login);
            servers.addresses.push(without_login(&address).map_err(|_| invalid())?);
        }
        if servers.addresses.is_empty() { Err(invalid()) } else { Ok(servers) }
    }

    /// The addresses as people may see them.
    pub(crate) fn shown(&self) -> String {
        let shown: Vec<String> = self
            .addresses
            .iter()
            .map(|a| a.as_url_str().trim_end_matches('/').to_owned())
            .collect();
        shown.join(",")
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

fn invalid() -> MessagingError {
    MessagingError::Address { advice: ADVICE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_taken_out_of_the_address() {
        let servers = Servers::parse("nats://bob:p%40ss,nats://other:4333").unwrap_err();
        // A password with a bare comma splits the list; it must not be shown then either.
        assert!(matches!(servers, MessagingError::Address { .. }), "{servers:?}");
        let servers = Servers::parse("nats://bob:p%40ss@one:4222, two:4333").unwrap();
        assert_eq!(servers.shown(), "nats://one:4222,nats://two:4333");
        let login = servers.login.as_ref().unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("bob", "p@ss"));
        assert!(!format!("{servers:?}").contains("p@ss"));
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_a_password() {
        for bad in ["", " , ", "http://host", "nats://", "nats://bob:secret@"] {
            let error = Servers::parse(bad).unwrap_err();
            assert!(matches!(error, MessagingError::Address { .. }), "{bad}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    /// What stands around every pair of characters that mean something in an address.
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
                    let config = crate::MessagingConfig::new(url.clone(), crate::Role::Api);
                    let shown = match Servers::parse(&url) {
                        Ok(servers) => format!("{} {servers:?} {config:?}", servers.shown()),
                        Err(error) => format!("{error} {error:?} {config:?}"),
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
        let servers = Servers::parse(&format!("nats://u:{escaped}@host,other")).unwrap();
        assert_eq!(servers.shown(), "nats://host,nats://other");
        assert_eq!(servers.login.unwrap().password, reserved);
        let error = Servers::parse("nats://u:p@S3/cret@host").unwrap_err().to_string();
        assert!(error.contains("percent-encode") && error.contains("%2F for /"), "{error}");
    }
}
