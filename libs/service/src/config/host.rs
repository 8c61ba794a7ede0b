//! The host that a server listens on: `HOST`.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

/// A name or an address, without a port. An IPv6 address may be written with brackets, as in a URL, and
/// without them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(String);

/// Why a text is no [`Host`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// It is a host and a port, a URL, or a malformed IPv6 address.
    #[error("expected a name or an address such as 127.0.0.1 or [::1], without scheme and port")]
    NotAHost,
}

impl Host {
    /// Without brackets, as sockets take it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only this machine can reach it. A name other than `localhost` may have any address.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.0.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => self.0.eq_ignore_ascii_case("localhost"),
        }
    }

    /// `host:port` as in a URL, with an IPv6 address in brackets.
    #[must_use]
    pub fn with_port(&self, port: u16) -> String {
        format!("{self}:{port}")
    }
}

impl Default for Host {
    /// 127.0.0.1: this machine only.
    fn default() -> Self {
        Self("127.0.0.1".to_owned())
    }
}

/// As in a URL, with an IPv6 address in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(&self.0) }
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = bracketed.unwrap_or(text);
        let is_name = bracketed.is_none()
            && !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"[]:/@%".contains(&byte));
        if is_name || is_ipv6(host) { Ok(Self(host.to_owned())) } else { Err(HostError::NotAHost) }
    }
}

/// Whether it is an IPv6 address, with or without a zone (`fe80::1%eth0`).
fn is_ipv6(text: &str) -> bool {
    let (address, is_zone) = match text.split_once('%') {
        Some((address, zone)) => (address, !zone.is_empty()),
        None => (text, true),
    };
    is_zone && address.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_is_one_with_brackets_and_without() {
        for (text, plain, shown) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.1:5000"),
            ("localhost", "localhost", "localhost:5000"),
            ("::1", "::1", "[::1]:5000"),
            ("[::1]", "::1", "[::1]:5000"),
            ("[::]", "::", "[::]:5000"),
            ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1", "[::ffff:127.0.0.1]:5000"),
            ("[fe80::1%eth0]", "fe80::1%eth0", "[fe80::1%eth0]:5000"),
        ] {
            let host: Host = text.parse().unwrap();
            assert_eq!((host.as_str(), host.with_port(5000).as_str()), (plain, shown), "{text}");
        }
    }

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        for text in ["127.0.0.1", "127.1.2.3", "[::1]", "::1", "::ffff:127.0.0.1", "LocalHost"] {
            assert!(text.parse::<Host>().unwrap().is_loopback(), "{text}");
        }
        for text in [
            "0.0.0.0",
            "::",
            "192.168.1.2",
            "::ffff:10.0.0.1",
            "fe80::1%lo",
            "api",
            "localhost.example",
        ] {
            assert!(!text.parse::<Host>().unwrap().is_loopback(), "{text}");
        }
    }

    #[test]
    fn what_is_more_or_less_than_a_host_is_refused() {
        for text in [
            "",
            "[",
            "[]",
            "[::1",
            "::1]",
            "[::1]:5000",
            "localhost:5000",
            "http://localhost",
            "[127.0.0.1]",
            "[localhost]",
            "a b",
            "::g",
            "fe80::1%",
            "user@host",
        ] {
            assert_eq!(text.parse::<Host>(), Err(HostError::NotAHost), "{text}");
        }
    }
}
