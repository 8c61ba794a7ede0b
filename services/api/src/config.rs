//! The API's settings and their variables.

use std::{net::SocketAddr, time::Duration};

use domain::{MAX_BATCH_ITEMS, ModelName, picture::PictureLimits};
use messaging::{MessagingConfig, Role};
use outbound::{UrlRules, Variables};
use service::{
    config::{ConfigError, LONGEST_SECONDS, Reader, Source, host::Host},
    telemetry::{LogSettings, traces::TraceSettings},
};

use crate::{
    auth::AuthMode,
    cache::RedisServer,
    http::{AllowedOrigins, ConnectionLimits},
    routes::deepstack::DeepStackMode,
    upload::{BatchLimits, FetchConfig},
};

/// The largest `MAX_EVENT_STREAMS`: more than one process can have connections.
const MOST_EVENT_STREAMS: usize = 1 << 20;

/// The settings of the API.
#[derive(Clone)]
pub struct Config {
    /// `HOST`: the name or address to listen on, an IPv6 address with brackets or without. Default
    /// 127.0.0.1, this machine only.
    pub host: Host,
    /// `AUTH`: whether requests need an API key. Default: not on a loopback address; must be set for any other `HOST`.
    pub auth: AuthMode,
    /// `PORT`: the port to listen on. Default 5000; 0 takes a free one.
    pub port: u16,
    /// `PROBES_ADDRESS`: a second address for `/health/…` and `/metrics`, which clients cannot reach, such as
    /// `127.0.0.1:9090`. Unset: none.
    pub probes_address: Option<SocketAddr>,
    /// `MODEL`: the model for new jobs. Default `yolov8n`.
    pub model: ModelName,
    /// `MAX_PICTURE_BYTES` (default 20 MiB) and `MAX_PICTURE_PIXELS` (default 64 Mi).
    pub picture_limits: PictureLimits,
    /// `MAX_CONCURRENT_UPLOADS`: maximum number of pictures in memory. Default 64.
    pub max_concurrent_uploads: usize,
    /// `MAX_BATCH_ITEMS` (default 2,000, at most 65,536), `MAX_BATCH_BYTES` (default 4 GiB), `BATCH_TIMEOUT_SECONDS` (default
    /// 3600), `BATCH_WAIT_SECONDS` (default 60): limits of a batch.
    pub batch_limits: BatchLimits,
    /// `MAX_CONCURRENT_BATCHES`: maximum number of batches that are received at a time. Default 16.
    pub max_concurrent_batches: usize,
    /// `UPLOAD_TIMEOUT_SECONDS`: timeout of an upload. Default 60.
    pub upload_timeout: Duration,
    /// `FETCH_URLS` (default on), `FETCH_HTTP`, `FETCH_PORTS`, `FETCH_ALLOW`, `FETCH_CA_FILE`,
    /// `FETCH_TIMEOUT_SECONDS`, `MAX_CONCURRENT_FETCHES`, `MAX_FETCHES_PER_HOST`: pictures by URL. `None`: none.
    pub fetch: Option<FetchConfig>,
    /// `WEBHOOKS` (default off), `WEBHOOK_HTTP`, `WEBHOOK_PORTS`, `WEBHOOK_ALLOW`: which URLs a notifier calls when a task
    /// ends. `None`: there is none.
    pub callback_rules: Option<UrlRules>,
    /// `MAX_CONNECTIONS`, `HEADER_TIMEOUT_SECONDS`, `KEEP_ALIVE_SECONDS`, `ANSWER_TIMEOUT_SECONDS`: limits of
    /// connections.
    pub connections: ConnectionLimits,
    /// `CORS_ORIGINS`: origins whose pages may read responses. Default: none but the API's own.
    pub allowed_origins: AllowedOrigins,
    /// `DEEPSTACK_API`: whether the routes of DeepStack are served, and how they report errors. Default: as DeepStack does.
    pub deepstack: DeepStackMode,
    /// `HUGGINGFACE_API`: whether the routes of Hugging Face are served. Default: they are.
    pub huggingface: bool,
    /// `ROBOFLOW_API`: whether the routes of Roboflow are served. Default: they are.
    pub roboflow: bool,
    /// `OPEN_INFERENCE_API`: whether the routes of the Open Inference Protocol are served. Default: they are.
    pub open_inference: bool,
    /// `MAX_EVENT_STREAMS`: maximum number of event streams. Default 2048, half of the connections.
    pub max_event_streams: usize,
    /// `MAX_LISTED_TASKS`: maximum number of tasks in the index for lists. Default a million; 0: no lists.
    pub max_listed_tasks: usize,
    /// `TASK_DEADLINE_SECONDS`: how long a job may wait for a worker before it expires. Default 24 h.
    pub task_deadline: Duration,
    /// `RECONCILE_SECONDS`: interval of the reconciler. Default 60.
    pub reconcile_every: Duration,
    /// `REDIS_URL`: the Redis server for the caches. Unset: no cache, the same answers. `REDIS_CA_FILE`:
    /// trusted certificates for a `rediss://` address. Unset: the system's.
    pub redis: Option<RedisServer>,
    /// `REDIS_TIMEOUT_MS`: timeout of a request to Redis. Default 100.
    pub redis_timeout: Duration,
    /// `RESPONSE_CACHE_SECONDS`: TTL of the response cache, from the end of a run. Default one hour; 0
    /// (`None`) turns it off.
    pub response_cache_ttl: Option<Duration>,
    /// `NATS_URL` and the other settings of the queue and the records.
    pub messaging: MessagingConfig,
    /// `SHUTDOWN_GRACE_SECONDS`: how long open requests are drained after SIGTERM. Default 25.
    pub shutdown_grace: Duration,
    /// `LOG_FORMAT` and `RUST_LOG`: format and filter of logs.
    pub log: LogSettings,
    /// `OTEL_…`: the export of traces. Default: none.
    pub traces: TraceSettings,
}

impl Config {
    /// Reads the settings from `source`.
    ///
    /// # Errors
    /// [`ConfigError`] with every setting that cannot be used.
    pub fn read(source: &dyn Source) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(source);
        let limits = PictureLimits::default();
        let upload_timeout = reader.seconds("UPLOAD_TIMEOUT_SECONDS", 60);
        let host = reader.read("HOST", Host::default());
        let config = Self {
            auth: AuthMode::read(&mut reader, &host),
            host,
            port: reader.read("PORT", 5000),
            probes_address: reader.read_optional("PROBES_ADDRESS"),
            model: reader.read("MODEL", ModelName::default()),
            picture_limits: PictureLimits {
                max_bytes: reader.at_least("MAX_PICTURE_BYTES", 1, limits.max_bytes),
                max_pixels: reader.at_least("MAX_PICTURE_PIXELS", 1, limits.max_pixels),
            },
            max_concurrent_uploads: reader.at_least("MAX_CONCURRENT_UPLOADS", 1, 64),
            batch_limits: read_batch_limits(&mut reader),
            max_concurrent_batches: reader.at_least("MAX_CONCURRENT_BATCHES", 1, 16),
            upload_timeout,
            fetch: FetchConfig::read(&mut reader),
            callback_rules: read_callback_rules(&mut reader),
            connections: ConnectionLimits {
                most: reader.at_least("MAX_CONNECTIONS", 1, 4096),
                header_timeout: reader.seconds("HEADER_TIMEOUT_SECONDS", 10),
                keep_alive: reader.seconds("KEEP_ALIVE_SECONDS", 75),
                answer_timeout: reader.seconds("ANSWER_TIMEOUT_SECONDS", 60),
                body_timeout: upload_timeout,
            },
            allowed_origins: reader.read("CORS_ORIGINS", AllowedOrigins::default()),
            deepstack: reader.read("DEEPSTACK_API", DeepStackMode::default()),
            huggingface: reader.switch("HUGGINGFACE_API", true),
            roboflow: reader.switch("ROBOFLOW_API", true),
            open_inference: reader.switch("OPEN_INFERENCE_API", true),
            max_event_streams: reader.within("MAX_EVENT_STREAMS", 0, MOST_EVENT_STREAMS, 2048),
            max_listed_tasks: reader.read("MAX_LISTED_TASKS", 1_000_000),
            task_deadline: reader.seconds("TASK_DEADLINE_SECONDS", 24 * 3600),
            reconcile_every: reader.seconds("RECONCILE_SECONDS", 60),
            redis: RedisServer::read(&mut reader),
            redis_timeout: reader.milliseconds("REDIS_TIMEOUT_MS", 100),
            response_cache_ttl: read_response_cache_ttl(&mut reader),
            messaging: MessagingConfig::read(&mut reader, Role::Api),
            shutdown_grace: reader.seconds("SHUTDOWN_GRACE_SECONDS", 25),
            log: LogSettings::read(&mut reader),
            traces: TraceSettings::read(&mut reader),
        };
        reader.finish(config)
    }
}

fn read_batch_limits(reader: &mut Reader<'_>) -> BatchLimits {
    let max_items: u32 = reader.at_least("MAX_BATCH_ITEMS", 1, 2000);
    if max_items > MAX_BATCH_ITEMS {
        let problem = format!("{max_items} is too large, the maximum is {MAX_BATCH_ITEMS}");
        reader.problem("MAX_BATCH_ITEMS", problem);
    }
    BatchLimits {
        max_items,
        max_bytes: reader.at_least("MAX_BATCH_BYTES", 1, 4 << 30),
        timeout: reader.seconds("BATCH_TIMEOUT_SECONDS", 3600),
        wait: reader.seconds("BATCH_WAIT_SECONDS", 60),
    }
}

fn read_callback_rules(reader: &mut Reader<'_>) -> Option<UrlRules> {
    let is_on = reader.switch("WEBHOOKS", false);
    let rules = Variables::WEBHOOKS.read_rules(reader);
    is_on.then_some(rules)
}

fn read_response_cache_ttl(reader: &mut Reader<'_>) -> Option<Duration> {
    match reader.within("RESPONSE_CACHE_SECONDS", 0, LONGEST_SECONDS, 3600) {
        0 => None,
        seconds => Some(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let source: HashMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::read(&source)
    }

    #[test]
    fn the_default_listens_on_loopback_only() {
        let config = read(&[]).unwrap();
        assert_eq!((config.host.as_str(), config.port), ("127.0.0.1", 5000));
        assert!(config.redis.is_none());
        assert_eq!(config.response_cache_ttl, Some(Duration::from_secs(3600)));
    }

    #[test]
    fn listening_elsewhere_than_on_loopback_needs_a_decision_about_keys() {
        assert_eq!(read(&[]).unwrap().auth, AuthMode::Off);
        assert_eq!(read(&[("HOST", "::1"), ("AUTH", "keys")]).unwrap().auth, AuthMode::Keys);
        assert_eq!(read(&[("HOST", "0.0.0.0"), ("AUTH", "OFF")]).unwrap().auth, AuthMode::Off);
        for settings in [&[("HOST", "0.0.0.0")][..], &[("HOST", "api"), ("AUTH", "on")]] {
            let error = read(settings).err().unwrap();
            assert_eq!(error.0.len(), 1, "{error}");
            assert_eq!(error.0[0].name, "AUTH");
            assert!(
                error.to_string().contains("keys") && error.to_string().contains("off"),
                "{error}"
            );
        }
    }

    #[test]
    fn fetching_is_turned_off_by_one_variable() {
        assert!(read(&[]).unwrap().fetch.is_some());
        for off in ["off", "false", "OFF"] {
            let settings = [("FETCH_URLS", off), ("FETCH_ALLOW", "http://minio:9000")];
            assert!(read(&settings).unwrap().fetch.is_none(), "{off}");
        }
    }

    #[test]
    fn the_response_cache_is_turned_off_with_0() {
        let ttl =
            |seconds| read(&[("RESPONSE_CACHE_SECONDS", seconds)]).unwrap().response_cache_ttl;
        assert_eq!((ttl("0"), ttl("7")), (None, Some(Duration::from_secs(7))));
        assert!(read(&[("RESPONSE_CACHE_SECONDS", "never")]).is_err());
    }

    #[test]
    fn a_file_without_certificates_is_a_bad_setting() {
        let no_certificates = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let settings = [("REDIS_URL", "rediss://:s3cret@host"), ("REDIS_CA_FILE", no_certificates)];
        let ConfigError(problems) = read(&settings).err().unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].name, "REDIS_CA_FILE");
        assert!(!format!("{problems:?}").contains("s3cret"), "{problems:?}");
        let config = read(&settings[..1]).unwrap();
        assert_eq!(format!("{:?}", config.redis), "Some(RedisServer(rediss://***@host))");
    }

    /// This file can be opened, but not read.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_certificate_file_that_cannot_be_read_is_a_bad_setting() {
        let settings = [("REDIS_URL", "rediss://host"), ("REDIS_CA_FILE", "/proc/self/mem")];
        let ConfigError(problems) = read(&settings).err().unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].name, "REDIS_CA_FILE");
    }

    #[test]
    fn every_bad_setting_is_named() {
        let bad = [
            ("HOST", "localhost:5000"),
            ("PORT", "99999"),
            ("MODEL", "../x"),
            ("REDIS_URL", "http://x"),
            ("REDIS_CA_FILE", "/nowhere/at.all"),
            ("QUEUE_MAX_BYTES", "1"),
            ("FETCH_URLS", "maybe"),
            ("FETCH_ALLOW", "minio"),
        ];
        let ConfigError(problems) = read(&bad).err().unwrap();
        let mut names: Vec<_> = problems.iter().map(|problem| problem.name).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "FETCH_ALLOW",
                "FETCH_URLS",
                "HOST",
                "MODEL",
                "PORT",
                "QUEUE_MAX_BYTES",
                "REDIS_CA_FILE",
                "REDIS_URL"
            ]
        );
    }
}
