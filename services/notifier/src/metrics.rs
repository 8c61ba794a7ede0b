//! The notifier's metrics.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter},
};

/// The outcomes of storing an event.
const EVENT_OUTCOMES: [&str; 2] = ["stored", "failed"];

/// The outcomes of tries.
const OUTCOMES: [&str; 4] = ["delivered", "failed", "given_up", "postponed"];

/// The notifier's instruments.
#[derive(Clone)]
pub(crate) struct NotifierMetrics {
    webhooks: Counter<u64>,
    events: Counter<u64>,
    delay: Histogram<f64>,
}

impl NotifierMetrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        let webhooks = meter
            .u64_counter("spotter_webhooks")
            .with_description("Tries to deliver webhooks, by outcome.")
            .build();
        for outcome in OUTCOMES {
            webhooks.add(0, &[KeyValue::new("outcome", outcome)]);
        }
        let events = meter
            .u64_counter("spotter_cloud_events")
            .with_description("Events of ended tasks, by outcome.")
            .build();
        for outcome in EVENT_OUTCOMES {
            events.add(0, &[KeyValue::new("outcome", outcome)]);
        }
        let delay = meter
            .f64_histogram("spotter_webhook_delay_seconds")
            .with_description("From the end of a task to the delivery of its webhook.")
            .build();
        Self { webhooks, events, delay }
    }

    pub(crate) fn count(&self, outcome: &'static str) {
        self.webhooks.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn count_event(&self, outcome: &'static str) {
        self.events.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn record_delay(&self, seconds: f64) {
        self.delay.record(seconds, &[]);
    }
}
