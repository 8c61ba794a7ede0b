//! Metrics of the models that the worker serves.

use std::sync::Arc;

use detector::ExecutionProvider;
use opentelemetry::KeyValue;
use service::telemetry::metrics::Metrics;

use super::cache::ModelCache;
use crate::metrics::by_model;

/// Reports the models that the worker serves, and what they take in memory, for as long as the worker runs.
pub(crate) fn register(metrics: &Metrics, models: &Arc<ModelCache>, provider: ExecutionProvider) {
    let served = Arc::clone(models);
    metrics
        .meter()
        .u64_observable_gauge("spotter_model_info")
        .with_description("Always 1; a model that this worker serves is in its labels.")
        .with_callback(move |gauge| {
            for (name, model) in served.served() {
                let digest = KeyValue::new("digest", model.bundle.digest().to_string());
                let provider = KeyValue::new("provider", provider.to_string());
                gauge.observe(1, &[by_model(&name), digest, provider]);
            }
        })
        .build();
    let loaded = Arc::clone(models);
    metrics
        .meter()
        .u64_observable_gauge("spotter_model_memory_bytes")
        .with_description("Estimated memory of a model, 0 if it is not in memory.")
        .with_callback(move |gauge| {
            for (name, model) in loaded.served() {
                gauge.observe(model.memory_bytes.unwrap_or(0), &[by_model(&name)]);
            }
        })
        .build();
}
