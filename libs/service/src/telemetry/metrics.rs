//! Metrics: measured through OpenTelemetry, read in Prometheus' text format.

use opentelemetry::{
    KeyValue,
    metrics::{Meter, MeterProvider},
};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

/// The media type of [`Metrics::render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Name and description of the gauge, by stream, that API and worker share.
pub const STREAM_WRITABLE: (&str, &str) =
    ("spotter_stream_writable", "1 while NATS stores messages of the stream, as far as is known.");

/// Why metrics could not be set up or read.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(String);

/// The metrics of one service and their registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
}

impl Metrics {
    /// A set of metrics that holds only `spotter_build_info`.
    ///
    /// # Errors
    /// [`MetricsError`] if the exporter cannot be registered.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .build()
            .map_err(|error| MetricsError(error.to_string()))?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let metrics = Self { registry, provider };
        metrics
            .meter()
            .u64_observable_gauge("spotter_build_info")
            .with_description("Always 1; the version is in its label.")
            .with_callback(|gauge| gauge.observe(1, &[KeyValue::new("version", crate::VERSION)]))
            .build();
        Ok(metrics)
    }

    /// The meter that creates instruments.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.provider.meter("spotter")
    }

    /// Registers a gauge that is 1 while `holds` returns true, and 0 otherwise. Each scrape calls it.
    pub fn flag(
        &self,
        name: &'static str,
        description: &'static str,
        holds: impl Fn() -> bool + Send + Sync + 'static,
    ) {
        self.meter()
            .u64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |gauge| gauge.observe(u64::from(holds()), &[]))
            .build();
    }

    /// Registers a gauge with a label: 1 for each label whose `state` is true, and 0 otherwise. Each scrape
    /// calls it.
    pub fn flags(
        &self,
        (name, description): (&'static str, &'static str),
        label: &'static str,
        state: impl Fn() -> Vec<(&'static str, bool)> + Send + Sync + 'static,
    ) {
        self.meter()
            .u64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |gauge| {
                for (value, holds) in state() {
                    gauge.observe(u64::from(holds), &[KeyValue::new(label, value)]);
                }
            })
            .build();
    }

    /// The current values of all metrics in Prometheus' text format.
    ///
    /// # Errors
    /// [`MetricsError`] if a metric cannot be written as text.
    pub fn render(&self) -> Result<String, MetricsError> {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .map_err(|error| MetricsError(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_reaches_the_text() {
        let metrics = Metrics::new().unwrap();
        metrics.meter().u64_counter("spotter_pictures").build().add(3, &[]);
        let text = metrics.render().unwrap();
        let counted =
            |line: &str| line.starts_with("spotter_pictures_total{") && line.ends_with("} 3");
        assert!(text.lines().any(counted), "{text}");
    }
}
