//! The API's metrics.

mod labelled_counter;

use std::{collections::BTreeMap, sync::Arc};

use domain::Priority;
use messaging::{CacheTotals, Discrepancy, QueueReport, TaskIndex};
use opentelemetry::{KeyValue, metrics::Meter};
use service::telemetry::metrics::Metrics;

use self::labelled_counter::LabelledCounter;
use crate::{
    auth::key_ring::KeyRing, cache::breaker::Breaker, http::event_stream::EventStreamSlots,
    reconcile::Reconciliation, tasks::backpressure::Backpressure, upload::UploadRules,
};

/// The outcomes of submissions that were accepted.
const ACCEPTED: [&str; 2] = ["accepted", "cached"];

/// The other outcomes of submissions.
const NOT_ACCEPTED: [&str; 5] =
    ["queue_full", "quota_exceeded", "rate_limited", "unavailable", "refused"];

/// What happens to batches.
const BATCHES: [&str; 4] = ["complete", "interrupted", "refused", "finished"];

/// The outcomes of the pictures of batches.
const BATCH_ITEMS: [&str; 2] = ["accepted", "refused"];

/// The outcome of a cache lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheOutcome {
    /// The cache had the value.
    Hit,
    /// The cache did not have the value.
    Miss,
    /// The cache failed or was too slow; the answer came from elsewhere.
    Error,
    /// The circuit breaker was open.
    Skipped,
    /// Not looked up: the model file that the workers run is unknown.
    ModelUnknown,
}

impl CacheOutcome {
    const ALL: [Self; 5] = [Self::Hit, Self::Miss, Self::Error, Self::Skipped, Self::ModelUnknown];

    fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Error => "error",
            Self::Skipped => "skipped",
            Self::ModelUnknown => "model_unknown",
        }
    }
}

/// Registers a gauge of a value in the newest sample of the queue.
fn queue_gauge(
    meter: &Meter,
    backpressure: &Backpressure,
    (name, description): (&'static str, &'static str),
    of: fn(QueueReport) -> f64,
) {
    let backpressure = backpressure.clone();
    meter
        .f64_observable_gauge(name)
        .with_description(description)
        .with_callback(move |gauge| {
            if let Some(report) = backpressure.newest() {
                gauge.observe(of(report), &[]);
            }
        })
        .build();
}

fn register_waiting_by_priority(meter: &Meter, backpressure: &Backpressure) {
    let backpressure = backpressure.clone();
    meter
        .u64_observable_gauge("spotter_queue_waiting_by_priority")
        .with_description("Jobs that wait for a worker, by priority.")
        .with_callback(move |gauge| {
            let Some(report) = backpressure.newest() else { return };
            for (priority, waiting) in Priority::ALL.into_iter().zip(report.waiting_by_priority) {
                gauge.observe(waiting, &[KeyValue::new("priority", priority.name())]);
            }
        })
        .build();
}

fn register_waiting_by_model(meter: &Meter, backpressure: &Backpressure) {
    let backpressure = backpressure.clone();
    meter
        .u64_observable_gauge("spotter_queue_waiting_by_model")
        .with_description("Jobs that wait for a worker, by model.")
        .with_callback(move |gauge| {
            let Some(report) = backpressure.newest() else { return };
            for (model, depth) in report.by_model {
                gauge.observe(depth.waiting, &[KeyValue::new("model", String::from(model))]);
            }
        })
        .build();
}

/// Registers the reconciler's metrics. Every kind has a series from the start, 0 if there is no discrepancy
/// or if another API is the reconciler.
pub(crate) fn register_reconciliation(meter: &Meter, reconciliation: &Reconciliation) {
    let kinds =
        || Discrepancy::ALL.into_iter().map(|kind| (kind, [KeyValue::new("kind", kind.name())]));
    let known = reconciliation.clone();
    meter
        .u64_observable_gauge("spotter_discrepancies")
        .with_description("Discrepancies between queue and records that are not repaired yet.")
        .with_callback(move |gauge| {
            kinds().for_each(|(kind, labels)| gauge.observe(known.open(kind), &labels));
        })
        .build();
    let known = reconciliation.clone();
    meter
        .u64_observable_counter("spotter_repairs")
        .with_description("Discrepancies between queue and records that were repaired.")
        .with_callback(move |counter| {
            kinds().for_each(|(kind, labels)| counter.observe(known.repairs(kind), &labels));
        })
        .build();
    let known = reconciliation.clone();
    meter
        .u64_observable_gauge("spotter_reconciler_holder")
        .with_description("1 on the API that is the reconciler.")
        .with_callback(move |gauge| gauge.observe(u64::from(known.is_holder()), &[]))
        .build();
    let known = reconciliation.clone();
    meter
        .u64_observable_gauge("spotter_reconciler_last_round_timestamp_seconds")
        .with_description("When this API's reconciler finished its last round.")
        .with_callback(move |gauge| {
            if let Some(seconds) = known.last_round() {
                gauge.observe(seconds, &[]);
            }
        })
        .build();
}

/// Registers the number of open event streams.
pub(crate) fn register_event_streams(meter: &Meter, streams: &EventStreamSlots) {
    let streams = streams.clone();
    meter
        .u64_observable_gauge("spotter_event_streams")
        .with_description("Open event streams, each of a client that follows a task.")
        .with_callback(move |gauge| gauge.observe(streams.open() as u64, &[]))
        .build();
}

/// Registers the size of the index for lists, and what was read for it.
pub(crate) fn register_task_index(meter: &Meter, index: &TaskIndex) {
    let listed = index.clone();
    meter
        .u64_observable_gauge("spotter_task_index_tasks")
        .with_description("Tasks in the index for lists; 0 while no lists are asked for.")
        .with_callback(move |gauge| gauge.observe(listed.len() as u64, &[]))
        .build();
    let listed = index.clone();
    meter
        .u64_observable_counter("spotter_task_index_records_read")
        .with_description("Records read for the index for lists.")
        .with_callback(move |counter| counter.observe(listed.records_read(), &[]))
        .build();
}

/// Registers the number of API keys, and the requests of each: there are no more series than keys.
pub(crate) fn register_keys(meter: &Meter, ring: &KeyRing) {
    let known = ring.clone();
    meter
        .u64_observable_gauge("spotter_api_keys")
        .with_description("API keys that this API knows.")
        .with_callback(move |gauge| gauge.observe(known.len() as u64, &[]))
        .build();
    let known = ring.clone();
    meter
        .u64_observable_counter("spotter_api_key_requests")
        .with_description("Requests with an API key, by the key's id.")
        .with_callback(move |counter| {
            for (id, requests) in known.requests() {
                counter.observe(requests, &[KeyValue::new("key", id.to_string())]);
            }
        })
        .build();
}

/// Requests that were refused because of their key. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RefusalMetrics(LabelledCounter);

impl RefusalMetrics {
    /// Series start at 0, for each of `reasons`.
    pub(crate) fn new(meter: &Meter, reasons: &[&'static str]) -> Self {
        let counter = meter
            .u64_counter("spotter_requests_refused")
            .with_description("Requests that were refused because of their API key, by reason.")
            .build();
        Self(LabelledCounter::new(counter, "reason", reasons.iter().copied()))
    }

    pub(crate) fn count(&self, reason: &'static str) {
        self.0.count(reason);
    }

    /// How many there were, by reason.
    pub(crate) fn totals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.totals()
    }
}

/// The API's instruments.
#[derive(Clone)]
pub(crate) struct ApiMetrics {
    cache: LabelledCounter,
    response_cache: LabelledCounter,
    submissions: LabelledCounter,
    batches: LabelledCounter,
    batch_items: LabelledCounter,
    refused_uploads: LabelledCounter,
}

impl ApiMetrics {
    /// Registers the instruments; each scrape reads the breaker and the upload slots. Uploads are refused for one of
    /// `upload_refusals`.
    pub(crate) fn new(
        metrics: &Metrics,
        breaker: Arc<Breaker>,
        rules: &UploadRules,
        upload_refusals: &[&'static str],
    ) -> Self {
        let meter = metrics.meter();
        meter
            .u64_observable_gauge("spotter_cache_breaker_open")
            .with_description("1 while the circuit breaker of the cache is open.")
            .with_callback(move |gauge| gauge.observe(u64::from(breaker.is_open()), &[]))
            .build();
        let waiting = ("spotter_queue_waiting", "Jobs that wait for a worker.");
        queue_gauge(&meter, &rules.backpressure, waiting, |report| report.depth.waiting as f64);
        register_waiting_by_priority(&meter, &rules.backpressure);
        register_waiting_by_model(&meter, &rules.backpressure);
        let in_progress =
            ("spotter_queue_in_progress", "Jobs that are running or wait for a retry.");
        queue_gauge(&meter, &rules.backpressure, in_progress, |report| {
            report.depth.in_progress as f64
        });
        let dead_letters = ("spotter_dead_letters", "Dead letters, kept for operators.");
        queue_gauge(&meter, &rules.backpressure, dead_letters, |report| report.dead_letters as f64);
        let webhooks =
            ("spotter_webhooks_waiting", "Webhooks that are neither delivered nor given up.");
        queue_gauge(&meter, &rules.backpressure, webhooks, |report| report.webhooks as f64);
        let dead = ("spotter_dead_webhooks", "Webhooks that were given up, kept for operators.");
        queue_gauge(&meter, &rules.backpressure, dead, |report| report.dead_webhooks as f64);
        let oldest = (
            "spotter_queue_oldest_job_age_seconds",
            "Age of the oldest job that is not settled; 0 if there is none.",
        );
        queue_gauge(&meter, &rules.backpressure, oldest, |report| report.oldest.as_secs_f64());
        let slots = Arc::clone(&rules.slots);
        let all = slots.available_permits();
        meter
            .u64_observable_gauge("spotter_uploads_in_memory")
            .with_description("Uploads in memory.")
            .with_callback(move |gauge| {
                gauge.observe(all.saturating_sub(slots.available_permits()) as u64, &[]);
            })
            .build();
        let counter = |name: &'static str, description: &'static str| {
            meter.u64_counter(name).with_description(description).build()
        };
        let cache_outcomes = CacheOutcome::ALL.into_iter();
        let result_outcomes =
            cache_outcomes.clone().filter(|one| *one != CacheOutcome::ModelUnknown);
        Self {
            cache: LabelledCounter::new(
                counter("spotter_cache_requests", "Lookups in the result cache, by outcome."),
                "outcome",
                result_outcomes.map(CacheOutcome::name),
            ),
            response_cache: LabelledCounter::new(
                counter(
                    "spotter_response_cache_requests",
                    "Lookups in the response cache, by outcome.",
                ),
                "outcome",
                cache_outcomes.map(CacheOutcome::name),
            ),
            submissions: LabelledCounter::new(
                counter("spotter_submissions", "Submissions, by outcome."),
                "outcome",
                ACCEPTED.into_iter().chain(NOT_ACCEPTED),
            ),
            batches: LabelledCounter::new(
                counter(
                    "spotter_batches",
                    "Batches that were received, and those that have ended, by outcome.",
                ),
                "outcome",
                BATCHES,
            ),
            batch_items: LabelledCounter::new(
                counter(
                    "spotter_batch_items",
                    "Pictures of batches that were received, by outcome.",
                ),
                "outcome",
                BATCH_ITEMS,
            ),
            refused_uploads: LabelledCounter::new(
                counter(
                    "spotter_uploads_refused",
                    "Uploads that were refused before they were submissions, by reason.",
                ),
                "reason",
                upload_refusals.iter().copied(),
            ),
        }
    }

    pub(crate) fn count_cache(&self, outcome: CacheOutcome) {
        self.cache.count(outcome.name());
    }

    pub(crate) fn count_response_cache(&self, outcome: CacheOutcome) {
        self.response_cache.count(outcome.name());
    }

    pub(crate) fn count_batch(&self, outcome: &'static str) {
        self.batches.count(outcome);
    }

    pub(crate) fn count_batch_item(&self, outcome: &'static str) {
        self.batch_items.count(outcome);
    }

    pub(crate) fn count_submission(&self, outcome: &'static str) {
        self.submissions.count(outcome);
    }

    pub(crate) fn count_refused_upload(&self, reason: &'static str) {
        self.refused_uploads.count(reason);
    }

    /// How many tasks were accepted.
    pub(crate) fn accepted(&self) -> u64 {
        ACCEPTED.into_iter().map(|outcome| self.submissions.total(outcome)).sum()
    }

    /// How many uploads and submissions were refused, by reason; without those for which there were none.
    pub(crate) fn refusals(&self) -> BTreeMap<String, u64> {
        let mut refusals = BTreeMap::new();
        let submissions = self.submissions.totals();
        let submissions = submissions.filter(|(outcome, _)| !ACCEPTED.contains(outcome));
        for (reason, total) in submissions.chain(self.refused_uploads.totals()) {
            if total > 0 {
                *refusals.entry(reason.to_owned()).or_default() += total;
            }
        }
        refusals
    }

    /// The lookups in the caches.
    pub(crate) fn cache_totals(&self) -> CacheTotals {
        let (hit, miss) = (CacheOutcome::Hit.name(), CacheOutcome::Miss.name());
        CacheTotals {
            result_hits: self.cache.total(hit),
            result_misses: self.cache.total(miss),
            response_hits: self.response_cache.total(hit),
            response_misses: self.response_cache.total(miss),
        }
    }
}
