//! What the API counts.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Counter};
use runtime::metrics::Metrics;

/// How the cache answered one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheOutcome {
    /// It had the record.
    Hit,
    /// It did not have the record.
    Miss,
    /// It failed or was too slow; the record was read from the bucket.
    Error,
    /// It had been failing and was not asked.
    Skipped,
}

impl CacheOutcome {
    fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }
}

/// The API's instruments.
#[derive(Clone)]
pub(crate) struct ApiMetrics {
    cache: Counter<u64>,
    submissions: Counter<u64>,
}

impl ApiMetrics {
    /// Registers the instruments; `cache_breaker_open` is asked at each scrape.
    pub(crate) fn new(
        metrics: &Metrics,
        cache_breaker_open: Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Self {
        let meter = metrics.meter();
        meter
            .u64_observable_gauge("spotter_cache_breaker_open")
            .with_description("1 while the result cache has been failing and is not asked.")
            .with_callback(move |gauge| gauge.observe(u64::from(cache_breaker_open()), &[]))
            .build();
        meter
            .u64_observable_gauge("spotter_build_info")
            .with_description("Always 1; the version is in its label.")
            .with_callback(|gauge| gauge.observe(1, &[KeyValue::new("version", runtime::VERSION)]))
            .build();
        Self {
            cache: meter
                .u64_counter("spotter_cache_requests")
                .with_description("Questions to the result cache, by outcome.")
                .build(),
            submissions: meter
                .u64_counter("spotter_submissions")
                .with_description("Pictures sent to this API, by outcome.")
                .build(),
        }
    }

    pub(crate) fn count_cache(&self, outcome: CacheOutcome) {
        self.cache.add(1, &[KeyValue::new("outcome", outcome.name())]);
    }

    pub(crate) fn count_submission(&self, outcome: &'static str) {
        self.submissions.add(1, &[KeyValue::new("outcome", outcome)]);
    }
}
