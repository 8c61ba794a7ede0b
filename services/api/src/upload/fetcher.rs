//! What fetches pictures by URL: its settings and its metrics.

use std::time::Duration;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};
use outbound::{Client, Limits, Roots, UrlRules, Variables};
use service::config::Reader;

/// The settings of fetching.
#[derive(Debug, Clone)]
pub struct FetchConfig {
    rules: UrlRules,
    roots: Roots,
    limits: Limits,
}

impl FetchConfig {
    /// Reads `FETCH_…`; `None` if pictures are not fetched.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let is_on = reader.switch("FETCH_URLS", true);
        let (rules, roots) = Variables::FETCHES.read(reader);
        let total = reader.seconds("FETCH_TIMEOUT_SECONDS", 20);
        let limits = Limits {
            connect: total.min(Duration::from_secs(5)),
            header: total.min(Duration::from_secs(10)),
            total,
            requests: reader.at_least("MAX_CONCURRENT_FETCHES", 1, 32),
            requests_per_host: reader.at_least("MAX_FETCHES_PER_HOST", 1, 8),
        };
        is_on.then_some(Self { rules, roots, limits })
    }
}

/// The outcomes of fetching.
const OUTCOMES: [&str; 7] =
    ["fetched", "invalid", "refused", "status", "timed_out", "unreachable", "busy"];

/// Fetches pictures.
#[derive(Clone)]
pub(crate) struct PictureFetcher {
    client: Client,
    fetches: Counter<u64>,
}

impl PictureFetcher {
    pub(crate) fn new(config: FetchConfig, meter: &Meter) -> Self {
        let FetchConfig { rules, roots, limits } = config;
        let client = Client::new(rules, limits, roots);
        let fetches = meter
            .u64_counter("spotter_url_fetches")
            .with_description("Pictures that were fetched by URL, by outcome.")
            .build();
        for outcome in OUTCOMES {
            fetches.add(0, &[KeyValue::new("outcome", outcome)]);
        }
        let in_progress = client.clone();
        meter
            .u64_observable_gauge("spotter_url_fetches_in_progress")
            .with_description("Pictures that are being fetched by URL.")
            .with_callback(move |gauge| gauge.observe(in_progress.in_progress() as u64, &[]))
            .build();
        Self { client, fetches }
    }

    /// Requests what clients name.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn count(&self, outcome: &'static str) {
        self.fetches.add(1, &[KeyValue::new("outcome", outcome)]);
    }
}
