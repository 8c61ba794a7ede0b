//! Which URLs are requested: the part of the rules that needs no I/O.

use std::net::IpAddr;

use url::{Host, Position, Url};

use crate::{AllowList, UrlError, address::is_public, error::Refused};

/// The longest URL, in bytes.
const LONGEST_URL: usize = 2048;

/// Which URLs are requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlRules {
    /// Whether `http` is allowed beside `https`.
    pub http: bool,
    /// The ports that are allowed.
    pub ports: Vec<u16>,
    /// Origins that are allowed whatever the other rules say, and networks beside public addresses.
    pub allowed: AllowList,
}

impl Default for UrlRules {
    /// `https` on port 443 of public addresses.
    fn default() -> Self {
        Self { http: false, ports: vec![443], allowed: AllowList::default() }
    }
}

/// A URL that may be requested, as far as that can be known without resolving its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    host: Host,
    port: u16,
    /// Its origin is on the allow-list: its addresses are not checked.
    is_allowed_origin: bool,
}

impl UrlRules {
    /// Parses `url` and checks it.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn check(&self, url: &str) -> Result<Target, UrlError> {
        if url.len() > LONGEST_URL {
            return Err(UrlError::TooLong(LONGEST_URL));
        }
        // The parser would remove or reinterpret them.
        if url.contains(|c: char| c.is_ascii_control() || c.is_whitespace() || c == '\\') {
            return Err(UrlError::Character);
        }
        let url = Url::parse(url).map_err(|error| UrlError::Invalid(error.to_string()))?;
        let default_port = match url.scheme() {
            "https" => 443,
            "http" => 80,
            _ => return Err(self.wrong_scheme()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::Login);
        }
        let host = url.host().ok_or_else(|| UrlError::Invalid("it has no host".to_owned()))?;
        let host = host.to_owned();
        let port = url.port().unwrap_or(default_port);
        let is_allowed_origin = self.allowed.has_origin(&url.origin());
        if !is_allowed_origin {
            if url.scheme() == "http" && !self.http {
                return Err(self.wrong_scheme());
            }
            if !self.ports.contains(&port) {
                return Err(UrlError::Port(port));
            }
            match host {
                Host::Ipv4(address) => self.check_address(address.into())?,
                Host::Ipv6(address) => self.check_address(address.into())?,
                Host::Domain(_) => {}
            }
        }
        Ok(Target { url, host, port, is_allowed_origin })
    }

    fn wrong_scheme(&self) -> UrlError {
        UrlError::Scheme { allowed: if self.http { "https or http" } else { "https" } }
    }

    fn check_address(&self, address: IpAddr) -> Result<(), Refused> {
        match is_public(address) || self.allowed.has_address(address) {
            true => Ok(()),
            false => Err(Refused),
        }
    }

    /// Checks all addresses that the host of `target` resolved to. One that is refused refuses all of them: whoever
    /// answers with both a public and a private address wants the second to be tried.
    ///
    /// # Errors
    /// [`Refused`], also if there is none.
    pub(crate) fn check_addresses(
        &self,
        target: &Target,
        addresses: &[IpAddr],
    ) -> Result<(), Refused> {
        if addresses.is_empty() {
            return Err(Refused);
        }
        if target.is_allowed_origin {
            return Ok(());
        }
        addresses.iter().try_for_each(|address| self.check_address(*address))
    }
}

impl Target {
    /// The URL, as the parser writes it.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Its host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The name to resolve. A name of the DNS is absolute, so that it is never completed with a domain of this
    /// machine's network; the name of an allowed origin may be completed.
    pub(crate) fn name_to_resolve(&self, domain: &str) -> String {
        match self.is_allowed_origin || domain.ends_with('.') {
            true => domain.to_owned(),
            false => format!("{domain}."),
        }
    }

    /// The value of the header `Host`.
    pub(crate) fn authority(&self) -> &str {
        &self.url[Position::BeforeHost..Position::AfterPort]
    }

    /// Path and query, as they are requested.
    pub(crate) fn path_and_query(&self) -> &str {
        &self.url[Position::BeforePath..Position::AfterQuery]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEME: UrlError = UrlError::Scheme { allowed: "https" };
    const REFUSED: UrlError = UrlError::Refused(Refused);

    #[test]
    fn hostile_urls_are_refused_without_a_request() {
        let cases = [
            // Other schemes.
            ("http://example.com/", SCHEME),
            ("file:///etc/passwd", SCHEME),
            ("ftp://example.com/a.jpg", SCHEME),
            ("gopher://example.com:70/_x", SCHEME),
            ("data:image/png;base64,AAAA", SCHEME),
            ("javascript:alert(1)", SCHEME),
            ("unix:///var/run/docker.sock", SCHEME),
            ("ws://example.com/", SCHEME),
            ("HTTP://example.com/", SCHEME),
            // Logins.
            ("https://bob@example.com/", UrlError::Login),
            ("https://bob:s3cret@example.com/", UrlError::Login),
            ("https://:s3cret@example.com/", UrlError::Login),
            ("https://example.com:443@127.0.0.1/", UrlError::Login),
            ("https://example.com%2F@127.0.0.1/", UrlError::Login),
            // Ports of other services.
            ("https://example.com:22/", UrlError::Port(22)),
            ("https://example.com:6379/", UrlError::Port(6379)),
            ("https://example.com:80/", UrlError::Port(80)),
            ("https://127.0.0.1:4222/", UrlError::Port(4222)),
            ("https://example.com:0/", UrlError::Port(0)),
            // Characters that parsers disagree on.
            ("https://example.com\\@127.0.0.1/", UrlError::Character),
            ("https:\\\\127.0.0.1/", UrlError::Character),
            ("https://exam\tple.com/", UrlError::Character),
            (" https://example.com/", UrlError::Character),
            ("https://example.com/a b", UrlError::Character),
            ("https://example.com/\r\nHost: x", UrlError::Character),
            ("https://example.com/\0", UrlError::Character),
            // Loopback, however it is written.
            ("https://127.0.0.1/", REFUSED),
            ("https://127.1/", REFUSED),
            ("https://127.0.1/", REFUSED),
            ("https://2130706433/", REFUSED),
            ("https://0x7f000001/", REFUSED),
            ("https://0x7f.0.0.1/", REFUSED),
            ("https://0177.0.0.1/", REFUSED),
            ("https://017700000001/", REFUSED),
            ("https://127.0.0.1./", REFUSED),
            ("https:127.0.0.1/", REFUSED),
            ("https:///127.0.0.1/", REFUSED),
            ("https://①②⑦.⓪.⓪.①/", REFUSED),
            ("https://127。0。0。1/", REFUSED),
            ("https://%31%32%37.0.0.1/", REFUSED),
            ("https://[::1]/", REFUSED),
            ("https://[0:0:0:0:0:0:0:1]/", REFUSED),
            ("https://[::127.0.0.1]/", REFUSED),
            ("https://[::ffff:127.0.0.1]/", REFUSED),
            ("https://[::ffff:7f00:1]/", REFUSED),
            ("https://[64:ff9b::7f00:1]/", REFUSED),
            ("https://[2002:7f00:1::]/", REFUSED),
            // Others.
            ("https://0.0.0.0/", REFUSED),
            ("https://0/", REFUSED),
            ("https://[::]/", REFUSED),
            ("https://10.0.0.1/", REFUSED),
            ("https://192.168.0.1/", REFUSED),
            ("https://100.64.0.1/", REFUSED),
            ("https://169.254.169.254/latest/meta-data/", REFUSED),
            ("https://0xa9fea9fe/", REFUSED),
            ("https://[fd00:ec2::254]/", REFUSED),
            ("https://[fe80::1]/", REFUSED),
            ("https://224.0.0.1/", REFUSED),
            ("https://255.255.255.255/", REFUSED),
        ];
        let rules = UrlRules::default();
        for (url, expected) in cases {
            assert_eq!(rules.check(url).unwrap_err(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        let rules = UrlRules::default();
        for url in [
            "",
            "example.com/a.jpg",
            "//example.com/a.jpg",
            "/a.jpg",
            "https://",
            "https://[::1",
            "https://[fe80::1%25eth0]/",
            "https://[fe80::1%eth0]/",
            "https://256.1.1.1/",
            "https://1.2.3.4.5/",
            "https://example.com:99999/",
            "https://exa<mple.com/",
            "https://%00/",
            "https://xn--/",
        ] {
            let error = rules.check(url).unwrap_err();
            assert!(matches!(error, UrlError::Invalid(_)), "{url}: {error}");
        }
        let long = format!("https://example.com/{}", "a".repeat(LONGEST_URL));
        assert_eq!(rules.check(&long).unwrap_err(), UrlError::TooLong(LONGEST_URL));
    }

    #[test]
    fn other_urls_are_requested() {
        let rules = UrlRules::default();
        for (url, authority, path) in [
            ("https://example.com", "example.com", "/"),
            ("https://example.com:443/a.jpg?b=c#d", "example.com", "/a.jpg?b=c"),
            ("https://EXAMPLE.com/ä", "example.com", "/%C3%A4"),
            ("https://münchen.example/", "xn--mnchen-3ya.example", "/"),
            ("https://8.8.8.8/", "8.8.8.8", "/"),
            ("https://[2606:4700:4700::1111]/", "[2606:4700:4700::1111]", "/"),
        ] {
            let target = rules.check(url).unwrap();
            assert_eq!((target.authority(), target.path_and_query()), (authority, path), "{url}");
        }
    }

    #[test]
    fn an_allowed_origin_is_requested_whatever_its_address() {
        let rules = UrlRules {
            allowed: "http://minio:9000,https://127.0.0.1:8443".parse().unwrap(),
            ..UrlRules::default()
        };
        let private = ["10.0.0.7".parse().unwrap()];
        for url in ["http://minio:9000/bucket/a.jpg", "https://127.0.0.1:8443/a.jpg"] {
            let target = rules.check(url).unwrap();
            assert_eq!(rules.check_addresses(&target, &private), Ok(()), "{url}");
        }
        for url in [
            "http://minio/",
            "https://minio:9000/",
            "http://minio.evil:9000/",
            "https://127.0.0.1/",
        ] {
            assert!(rules.check(url).is_err(), "{url}");
        }
        let bob = rules.check("http://bob@minio:9000/").unwrap_err();
        assert_eq!(bob, UrlError::Login);
    }

    #[test]
    fn an_allowed_network_leaves_the_rules_for_ports() {
        let allowed = "10.1.0.0/16".parse().unwrap();
        let rules = UrlRules { http: true, ports: vec![80, 443], allowed };
        assert!(rules.check("http://10.1.2.3/a.jpg").is_ok());
        assert_eq!(rules.check("http://10.2.2.3/").unwrap_err(), REFUSED);
        assert_eq!(rules.check("http://10.1.2.3:22/").unwrap_err(), UrlError::Port(22));
    }

    #[test]
    fn one_refused_address_refuses_all() {
        let rules = UrlRules::default();
        let target = rules.check("https://example.com/").unwrap();
        let addresses = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        assert_eq!(rules.check_addresses(&target, &addresses(&["8.8.8.8", "2a00::1"])), Ok(()));
        for refused in [&[][..], &["8.8.8.8", "10.0.0.1"], &["::1", "8.8.8.8"]] {
            assert_eq!(rules.check_addresses(&target, &addresses(refused)), Err(Refused));
        }
    }
}
