//! A latency as a metric and as a part of this worker's status.

use std::{sync::Arc, time::Duration};

use messaging::LatencyHistogram;
use opentelemetry::{KeyValue, metrics::Histogram};

use crate::recent_latencies::RecentLatencies;

/// The latencies of one stage.
#[derive(Clone)]
pub(crate) struct Latencies {
    metric: Histogram<f64>,
    labels: Arc<[KeyValue]>,
    recent: Arc<RecentLatencies>,
}

impl Latencies {
    /// Those that `metric` records with these labels.
    pub(crate) fn new(metric: Histogram<f64>, labels: &[KeyValue]) -> Self {
        Self { metric, labels: labels.into(), recent: Arc::new(RecentLatencies::new()) }
    }

    pub(crate) fn record(&self, latency: Duration) {
        self.metric.record(latency.as_secs_f64(), &self.labels);
        self.recent.record(latency);
    }

    /// The latencies of about the last minute.
    pub(crate) fn recent(&self) -> LatencyHistogram {
        self.recent.histogram()
    }
}
