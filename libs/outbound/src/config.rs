//! The settings of the rules.

use service::config::Reader;

use crate::{AllowList, Roots, UrlRules};

/// The variables of one set of rules.
#[derive(Debug, Clone, Copy)]
pub struct Variables {
    /// Whether `http` is allowed: `on` or `off`.
    pub http: &'static str,
    /// The ports, separated by commas.
    pub ports: &'static str,
    /// Origins and networks, separated by commas.
    pub allow: &'static str,
    /// A file of certificates to trust beside the system's.
    pub ca_file: &'static str,
}

/// A list of ports.
struct Ports(Vec<u16>);

impl std::str::FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = |text: &str| match text.trim().parse() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err("expected ports from 1 to 65535, separated by commas".to_owned()),
        };
        text.split(',').map(port).collect::<Result<_, _>>().map(Self)
    }
}

impl Variables {
    /// Those of pictures by URL.
    pub const FETCHES: Self = Self {
        http: "FETCH_HTTP",
        ports: "FETCH_PORTS",
        allow: "FETCH_ALLOW",
        ca_file: "FETCH_CA_FILE",
    };

    /// Those of webhooks. The API checks a URL by the rules, and the notifier again when it calls it.
    pub const WEBHOOKS: Self = Self {
        http: "WEBHOOK_HTTP",
        ports: "WEBHOOK_PORTS",
        allow: "WEBHOOK_ALLOW",
        ca_file: "WEBHOOK_CA_FILE",
    };

    /// Reads the rules and the certificates to trust.
    pub fn read(&self, reader: &mut Reader<'_>) -> (UrlRules, Roots) {
        (self.read_rules(reader), self.read_roots(reader))
    }

    /// Reads the rules.
    pub fn read_rules(&self, reader: &mut Reader<'_>) -> UrlRules {
        let http = reader.switch(self.http, false);
        let default = if http { vec![80, 443] } else { vec![443] };
        UrlRules {
            http,
            ports: reader.read(self.ports, Ports(default)).0,
            allowed: reader.read(self.allow, AllowList::default()),
        }
    }

    fn read_roots(&self, reader: &mut Reader<'_>) -> Roots {
        let Some((_, pem)) = reader.file_bytes(self.ca_file) else { return Roots::default() };
        match Roots::from_pem(&pem) {
            Ok(roots) => roots,
            Err(problem) => {
                reader.problem(self.ca_file, problem.to_owned());
                Roots::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use service::config::ConfigError;

    use super::*;

    const VARIABLES: Variables =
        Variables { http: "HTTP", ports: "PORTS", allow: "ALLOW", ca_file: "CA_FILE" };

    fn read(pairs: &[(&str, &str)]) -> Result<UrlRules, ConfigError> {
        let source: HashMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut reader = Reader::new(&source);
        let (rules, _) = VARIABLES.read(&mut reader);
        reader.finish(rules)
    }

    #[test]
    fn http_adds_its_port() {
        assert_eq!(read(&[]).unwrap(), UrlRules::default());
        assert_eq!(read(&[("HTTP", "on")]).unwrap().ports, [80, 443]);
        assert_eq!(read(&[("HTTP", "true"), ("PORTS", "8080, 443")]).unwrap().ports, [8080, 443]);
    }

    #[test]
    fn every_bad_setting_is_named() {
        let not_pem = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let bad = [("HTTP", "maybe"), ("PORTS", "0"), ("ALLOW", "minio"), ("CA_FILE", not_pem)];
        let ConfigError(problems) = read(&bad).unwrap_err();
        let names: Vec<_> = problems.iter().map(|problem| problem.name).collect();
        assert_eq!(names, ["HTTP", "PORTS", "ALLOW", "CA_FILE"]);
    }
}
