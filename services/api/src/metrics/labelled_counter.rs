//! A counter by one label, as a metric and as totals that this process reads itself.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use opentelemetry::{KeyValue, metrics::Counter};

/// Counts by the values of one label. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LabelledCounter {
    metric: Counter<u64>,
    label: &'static str,
    totals: Arc<[(&'static str, AtomicU64)]>,
}

impl LabelledCounter {
    /// Series start at 0: an alert on an increase does not see one in a series that starts with 1.
    pub(super) fn new(
        metric: Counter<u64>,
        label: &'static str,
        values: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        let totals: Arc<[_]> = values.into_iter().map(|value| (value, AtomicU64::new(0))).collect();
        for (value, _) in totals.iter() {
            metric.add(0, &[KeyValue::new(label, *value)]);
        }
        Self { metric, label, totals }
    }

    /// Counts one of the values.
    pub(super) fn count(&self, value: &'static str) {
        self.metric.add(1, &[KeyValue::new(self.label, value)]);
        let total = self.totals.iter().find(|(known, _)| *known == value);
        debug_assert!(total.is_some(), "{value} is no value of {}", self.label);
        if let Some((_, total)) = total {
            total.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often a value was counted.
    pub(super) fn total(&self, value: &str) -> u64 {
        self.totals().find(|(known, _)| *known == value).map_or(0, |(_, total)| total)
    }

    /// How often each value was counted.
    pub(super) fn totals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.totals.iter().map(|(value, total)| (*value, total.load(Ordering::Relaxed)))
    }
}
