//! What the operator allows beyond public addresses: origins such as an object store of the same network, and networks.

use std::{fmt, net::IpAddr, str::FromStr};

use url::{Origin, Url};

/// A range of IP addresses, such as `10.1.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    pub(crate) const fn new(address: IpAddr, prefix: u8) -> Self {
        Self { address, prefix }
    }

    /// Whether `address` is in it. An address of the other family never is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let host_bits = |bits: u32| bits.saturating_sub(u32::from(self.prefix));
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let difference = network.to_bits() ^ address.to_bits();
                difference.checked_shr(host_bits(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let difference = network.to_bits() ^ address.to_bits();
                difference.checked_shr(host_bits(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// One entry of an [`AllowList`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// Scheme, host and port, whatever addresses the host has: `http://minio:9000`.
    Origin(Origin),
    /// The addresses of a network; the rules for schemes and ports apply.
    Network(Network),
}

/// Why a text is no [`Allowed`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected origins such as http://minio:9000, without a path, or networks such as 10.1.0.0/16, separated by commas"
)]
pub struct InvalidAllowed;

impl FromStr for Allowed {
    type Err = InvalidAllowed;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains("://") {
            let url = Url::parse(text).map_err(|_| InvalidAllowed)?;
            let is_origin = matches!(url.scheme(), "http" | "https")
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none();
            return if is_origin { Ok(Self::Origin(url.origin())) } else { Err(InvalidAllowed) };
        }
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidAllowed)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| InvalidAllowed)?,
            None => longest,
        };
        if prefix > longest {
            return Err(InvalidAllowed);
        }
        Ok(Self::Network(Network { address, prefix }))
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Origin(origin) => f.write_str(&origin.ascii_serialization()),
            Self::Network(Network { address, prefix }) => write!(f, "{address}/{prefix}"),
        }
    }
}

/// What is allowed beyond public addresses. Empty by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Allowed>);

impl AllowList {
    /// Whether an entry is this origin.
    pub(crate) fn has_origin(&self, origin: &Origin) -> bool {
        self.0.iter().any(|allowed| matches!(allowed, Allowed::Origin(known) if known == origin))
    }

    /// Whether a network of the list contains `address`.
    pub(crate) fn has_address(&self, address: IpAddr) -> bool {
        let mut networks = self.0.iter().filter_map(|allowed| match allowed {
            Allowed::Network(network) => Some(network),
            Allowed::Origin(_) => None,
        });
        networks.any(|network| network.contains(address))
    }
}

impl FromStr for AllowList {
    type Err = InvalidAllowed;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_origins_or_networks() {
        for (text, written) in [
            ("http://minio:9000", "http://minio:9000"),
            ("https://Store.Example/", "https://store.example"),
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("127.0.0.1", "127.0.0.1/32"),
            ("fd00::/8", "fd00::/8"),
        ] {
            assert_eq!(text.parse::<Allowed>().unwrap().to_string(), written);
        }
        for text in [
            "minio:9000",
            "minio",
            "ftp://minio",
            "http://minio/bucket",
            "http://bob:s3cret@minio",
            "http://minio?x",
            "10.1.0.0/33",
            "10.1/16",
            "::/129",
            "/",
        ] {
            assert_eq!(text.parse::<Allowed>(), Err(InvalidAllowed), "{text}");
        }
        let list: AllowList = " http://a , 10.0.0.0/8,".parse().unwrap();
        assert_eq!(list.0.len(), 2);
    }

    #[test]
    fn a_network_contains_what_shares_its_prefix() {
        let cases = [
            ("10.1.0.0/16", "10.1.255.255", true),
            ("10.1.0.0/16", "10.2.0.0", false),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.2", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::/0", "ff::", true),
        ];
        for (network, address, expected) in cases {
            let list: AllowList = network.parse().unwrap();
            assert_eq!(list.has_address(address.parse().unwrap()), expected, "{network} {address}");
        }
    }
}
