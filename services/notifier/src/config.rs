//! The notifier's settings, one variable each.

use std::{net::SocketAddr, time::Duration};

use messaging::{MessagingConfig, Role};
use outbound::{Limits, Roots, UrlRules, Variables};
use service::{
    config::{ConfigError, Reader, Source},
    telemetry::LogSettings,
};

use crate::{retries::Retries, signature::Secrets};

/// All settings of a notifier.
#[derive(Clone)]
pub struct Config {
    /// `WEBHOOK_SECRETS`: the secrets that webhooks are signed with, each `whsec_` and base64 of 24 to 64 bytes.
    pub secrets: Secrets,
    /// `WEBHOOK_HTTP`, `WEBHOOK_PORTS`, `WEBHOOK_ALLOW`: which URLs are called.
    pub rules: UrlRules,
    /// `WEBHOOK_CA_FILE`: certificates to trust beside the system's.
    pub roots: Roots,
    /// `WEBHOOK_TIMEOUT_SECONDS` (default 20), `MAX_CONCURRENT_WEBHOOKS` (64), `MAX_WEBHOOKS_PER_HOST` (8).
    pub limits: Limits,
    /// `WEBHOOK_RETRY_SECONDS`: the delay before each further try.
    pub retries: Retries,
    /// `SHUTDOWN_GRACE_SECONDS`: how long webhooks in progress may go on after SIGTERM. Default 25.
    pub shutdown_grace: Duration,
    /// `PROBES_ADDRESS`: the address of `/health/…` and `/metrics`. Unset: they are not served.
    pub probes_address: Option<SocketAddr>,
    /// `NATS_URL` and the other settings of NATS and the queue.
    pub messaging: MessagingConfig,
    /// `LOG_FORMAT` and `RUST_LOG`: the format and the level of logs.
    pub log: LogSettings,
}

impl Config {
    /// Reads the settings from `source`.
    ///
    /// # Errors
    /// [`ConfigError`] with every setting that cannot be used.
    pub fn read(source: &dyn Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let secrets: Option<Secrets> = reader.read_secret("WEBHOOK_SECRETS");
        let messaging = MessagingConfig::read(&mut reader, Role::Notifier);
        let has_work = messaging.cloud_events || source.get("WEBHOOK_SECRETS").is_some();
        if secrets.is_none() && !has_work {
            let problem = "it must be set, unless CLOUD_EVENTS is on: whsec_ and base64 of 24 to 64 random bytes";
            reader.problem("WEBHOOK_SECRETS", problem.to_owned());
        }
        let (rules, roots) = Variables::WEBHOOKS.read(&mut reader);
        let total = reader.seconds("WEBHOOK_TIMEOUT_SECONDS", 20);
        let limits = Limits {
            connect: total.min(Duration::from_secs(10)),
            header: total,
            total,
            requests: reader.within("MAX_CONCURRENT_WEBHOOKS", 1, 4096, 64),
            requests_per_host: reader.at_least("MAX_WEBHOOKS_PER_HOST", 1, 8),
        };
        let config = Self {
            secrets: secrets.unwrap_or_default(),
            rules,
            roots,
            limits,
            retries: reader.read("WEBHOOK_RETRY_SECONDS", Retries::default()),
            shutdown_grace: reader.seconds("SHUTDOWN_GRACE_SECONDS", 25),
            probes_address: reader.read_optional("PROBES_ADDRESS"),
            messaging,
            log: LogSettings::read(&mut reader),
        };
        reader.finish(config)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn problems(pairs: &[(&str, &str)]) -> Vec<&'static str> {
        let source: HashMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        match Config::read(&source) {
            Ok(_) => Vec::new(),
            Err(ConfigError(problems)) => {
                assert!(!format!("{problems:?}").contains("s3cret"), "{problems:?}");
                problems.iter().map(|problem| problem.name).collect()
            }
        }
    }

    #[test]
    fn secrets_are_needed_and_never_shown() {
        let good = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert_eq!(problems(&[("WEBHOOK_SECRETS", good)]), [""; 0]);
        assert_eq!(problems(&[]), ["WEBHOOK_SECRETS"]);
        assert_eq!(problems(&[("CLOUD_EVENTS", "on")]), [""; 0]);
        assert_eq!(problems(&[("WEBHOOK_SECRETS", "whsec_s3cret")]), ["WEBHOOK_SECRETS"]);
        assert_eq!(problems(&[("WEBHOOK_SECRETS", "s3cret")]), ["WEBHOOK_SECRETS"]);
    }
}
