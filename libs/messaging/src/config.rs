//! The settings of messaging: servers, limits and times.

use std::{path::PathBuf, time::Duration};

use service::config::Reader;

use crate::connection::{address::NatsServers, tls::TlsFiles};

/// The least that `QUEUE_MAX_BYTES` may be.
pub(crate) const LEAST_QUEUE_BYTES: u64 = 1 << 20;

/// The least that `CLOUD_EVENTS_MAX_BYTES` may be.
const LEAST_CLOUD_EVENT_BYTES: u64 = 1 << 20;

/// The least that `DRAWINGS_MAX_BYTES` may be.
const LEAST_DRAWING_BYTES: u64 = 1 << 20;

/// Which part of the system a connection belongs to. Each part has its own client name and inbox prefix,
/// for permissions and for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Publishes jobs and reads records.
    Api,
    /// Runs jobs and writes records.
    Worker,
    /// Provisions streams, buckets and the consumer, and nothing else.
    Setup,
    /// Delivers webhooks.
    Notifier,
    /// A command of the command line.
    Cli,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Api => "spotter-api",
            Self::Worker => "spotter-worker",
            Self::Setup => "spotter-setup",
            Self::Notifier => "spotter-notifier",
            Self::Cli => "spotter-cli",
        }
    }

    pub(crate) fn inbox_prefix(self) -> &'static str {
        match self {
            Self::Api => "_INBOX_api",
            Self::Worker => "_INBOX_worker",
            Self::Setup => "_INBOX_setup",
            Self::Notifier => "_INBOX_notifier",
            Self::Cli => "_INBOX_cli",
        }
    }
}

/// The longest that `QUEUED_RECORD_SECONDS` may be: half the deadline from which on a job needs no record at once.
const LONGEST_RECORD_DELAY: u64 = 1800;

/// The limits of the queue. A full queue refuses new jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// The most bytes of all waiting jobs; the same again for pictures in the object store.
    pub max_bytes: u64,
    /// The most waiting jobs.
    pub max_messages: u64,
}

impl Default for QueueLimits {
    /// 1 GiB and 10,000 jobs.
    fn default() -> Self {
        Self { max_bytes: 1 << 30, max_messages: 10_000 }
    }
}

/// How to connect, and how [`Messaging::provision`](crate::Messaging::provision) provisions the streams.
///
/// Every process of a deployment must have the same values: those of the last one to start win.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagingConfig {
    /// The servers, and the login to them.
    pub servers: NatsServers,
    /// A NATS credentials file, for servers that require one.
    pub credentials_file: Option<PathBuf>,
    /// The PEM files for TLS.
    pub tls: TlsFiles,
    /// The part of the system that connects.
    pub role: Role,
    /// The limits of the queue.
    pub limits: QueueLimits,
    /// The most bytes of all drawings. A task whose drawing does not fit succeeds without it. Default 256 MiB.
    pub drawing_bytes: u64,
    /// Whether the end of each task is also an event, in a stream of their own. Default no.
    pub cloud_events: bool,
    /// The most bytes of all events; the oldest are deleted. Default 256 MiB.
    pub cloud_event_bytes: u64,
    /// How long a task's record is kept after its last change. Default 24 h.
    pub result_ttl: Duration,
    /// The largest picture, in bytes, that travels inside its message; a larger one goes through
    /// the object store. Default 1 MiB; the server's `max_payload` limits it further.
    pub inline_limit: usize,
    /// How long the server waits for a worker before it redelivers a job. Default 30 s.
    pub ack_wait: Duration,
    /// How long a job waits in the queue before its task gets a record. Zero: its record is stored together
    /// with it. Default 5 minutes.
    pub record_delay: Duration,
    /// For how long the server drops a second job with the same id. Default 10 minutes: longer than any
    /// client's retries.
    pub duplicate_window: Duration,
    /// How many servers store each stream. Default 1.
    pub replicas: usize,
    /// The timeout of one request to the server. Default 5 s.
    pub request_timeout: Duration,
    /// The timeout of the first connection, retries included. Default 10 s.
    pub connect_timeout: Duration,
}

impl MessagingConfig {
    /// The defaults, for these servers.
    #[must_use]
    pub fn new(servers: NatsServers, role: Role) -> Self {
        Self {
            servers,
            credentials_file: None,
            tls: TlsFiles::default(),
            role,
            limits: QueueLimits::default(),
            drawing_bytes: 256 << 20,
            cloud_events: false,
            cloud_event_bytes: 256 << 20,
            result_ttl: Duration::from_secs(24 * 3600),
            inline_limit: 1 << 20,
            ack_wait: Duration::from_secs(30),
            record_delay: Duration::from_secs(300),
            duplicate_window: Duration::from_secs(600),
            replicas: 1,
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
        }
    }

    /// Reads the variables `NATS_URL`, `NATS_CREDENTIALS_FILE`, `NATS_CA_FILE`, `NATS_CERTIFICATE_FILE`,
    /// `NATS_KEY_FILE`, `NATS_REPLICAS`, `QUEUE_MAX_BYTES`, `QUEUE_MAX_MESSAGES`, `DRAWINGS_MAX_BYTES`, `CLOUD_EVENTS`,
    /// `CLOUD_EVENTS_MAX_BYTES`, `RESULT_TTL_SECONDS`, `INLINE_LIMIT_BYTES`, `ACK_WAIT_SECONDS`, `QUEUED_RECORD_SECONDS` and `DUPLICATE_WINDOW_SECONDS`. `reader`
    /// collects what is wrong with them.
    #[must_use]
    pub fn read(reader: &mut Reader<'_>, role: Role) -> Self {
        let servers = reader.read_secret("NATS_URL").unwrap_or_default();
        let default = Self::new(servers, role);
        Self {
            credentials_file: reader.file("NATS_CREDENTIALS_FILE"),
            tls: TlsFiles::read(reader),
            limits: QueueLimits {
                max_bytes: reader.at_least(
                    "QUEUE_MAX_BYTES",
                    LEAST_QUEUE_BYTES,
                    default.limits.max_bytes,
                ),
                max_messages: reader.at_least("QUEUE_MAX_MESSAGES", 1, default.limits.max_messages),
            },
            drawing_bytes: reader.at_least(
                "DRAWINGS_MAX_BYTES",
                LEAST_DRAWING_BYTES,
                default.drawing_bytes,
            ),
            cloud_events: reader.switch("CLOUD_EVENTS", default.cloud_events),
            cloud_event_bytes: reader.at_least(
                "CLOUD_EVENTS_MAX_BYTES",
                LEAST_CLOUD_EVENT_BYTES,
                default.cloud_event_bytes,
            ),
            result_ttl: reader.seconds("RESULT_TTL_SECONDS", default.result_ttl.as_secs()),
            inline_limit: reader.at_least("INLINE_LIMIT_BYTES", 1, default.inline_limit),
            ack_wait: reader.seconds("ACK_WAIT_SECONDS", default.ack_wait.as_secs()),
            record_delay: Duration::from_secs(reader.within(
                "QUEUED_RECORD_SECONDS",
                0,
                LONGEST_RECORD_DELAY,
                default.record_delay.as_secs(),
            )),
            duplicate_window: reader
                .seconds("DUPLICATE_WINDOW_SECONDS", default.duplicate_window.as_secs()),
            replicas: reader.at_least("NATS_REPLICAS", 1, default.replicas),
            ..default
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn problems(variables: &[(&str, &str)]) -> Vec<service::config::BadSetting> {
        let source: HashMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let mut reader = Reader::new(&source);
        let config = MessagingConfig::read(&mut reader, Role::Api);
        reader.finish(config).map_or_else(|error| error.0, |_| Vec::new())
    }

    #[test]
    fn unusable_settings_are_reported_when_they_are_read() {
        let here = env!("CARGO_MANIFEST_DIR");
        let file = format!("{here}/Cargo.toml");
        assert_eq!(problems(&[]), []);
        let good =
            [("NATS_URL", "nats://a:b@one:4222,two"), ("NATS_CREDENTIALS_FILE", file.as_str())];
        assert_eq!(problems(&good), []);
        for bad_url in ["http://bob:secret@host", "nats://", "nats://bob:secret@", "nats://h:x"] {
            for bad_file in ["/nowhere/at.all", here] {
                let bad = [("NATS_URL", bad_url), ("NATS_CREDENTIALS_FILE", bad_file)];
                let problems = problems(&bad);
                let names: Vec<_> = problems.iter().map(|problem| problem.name).collect();
                assert_eq!(names, ["NATS_URL", "NATS_CREDENTIALS_FILE"], "{bad:?}");
                assert!(!format!("{problems:?}").contains("secret"), "{problems:?}");
            }
        }
    }
}
