//! Server addresses with their password set apart, so that it reaches no log.

use async_nats::ServerAddr;
use runtime::config::redact_url;

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
        let mut servers = Self { addresses: Vec::new(), login: None };
        for url in urls.split(',').map(str::trim).filter(|url| !url.is_empty()) {
            let address: ServerAddr = url.parse().map_err(|_| invalid(urls))?;
            let login = address.username().map(|user| Login {
                user: percent_decoded(user),
                password: percent_decoded(address.password().unwrap_or_default()),
            });
            servers.login = servers.login.or(login);
            servers.addresses.push(without_login(&address).map_err(|_| invalid(urls))?);
        }
        if servers.addresses.is_empty() { Err(invalid(urls)) } else { Ok(servers) }
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

fn invalid(urls: &str) -> MessagingError {
    MessagingError::Address { shown: redact_url(urls) }
}

/// Undoes a URL's `%40` for `@` and the like; what is no such escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
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
}
