//! What a worker counts.

use std::time::Duration;

use detector::StageTimings;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use runtime::metrics::Metrics;

use crate::inference::Share;

/// Seconds: from a letterbox of half a millisecond to a model of ten seconds.
const STAGE_BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

const BATCH_BUCKETS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// The worker's instruments.
#[derive(Clone)]
pub(crate) struct WorkerMetrics {
    jobs: Counter<u64>,
    pictures: Counter<u64>,
    stages: Histogram<f64>,
    batches: Histogram<u64>,
}

impl WorkerMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let meter = metrics.meter();
        Self {
            jobs: meter
                .u64_counter("spotter_jobs")
                .with_description("Deliveries processed, by outcome.")
                .build(),
            pictures: meter
                .u64_counter("spotter_pictures")
                .with_description("Pictures run, by how many cores they were given.")
                .build(),
            stages: meter
                .f64_histogram("spotter_stage_seconds")
                .with_description("Time of each stage of detection.")
                .with_boundaries(STAGE_BUCKETS.to_vec())
                .build(),
            batches: meter
                .u64_histogram("spotter_batch_size")
                .with_description("Pictures run together, where batches are made.")
                .with_boundaries(BATCH_BUCKETS.to_vec())
                .build(),
        }
    }

    pub(crate) fn count_job(&self, outcome: &'static str) {
        self.jobs.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn count_picture(&self, share: Share) {
        let cores = match share {
            Share::Slot => "slot",
            Share::WholeWorker => "all",
        };
        self.pictures.add(1, &[KeyValue::new("cores", cores)]);
    }

    pub(crate) fn record_batch(&self, pictures: usize) {
        self.batches.record(pictures as u64, &[]);
    }

    pub(crate) fn record_stages(&self, timings: &StageTimings) {
        let StageTimings { decode, letterbox, infer, postprocess } = *timings;
        let stages: [(&str, Duration); 4] = [
            ("decode", decode),
            ("letterbox", letterbox),
            ("infer", infer),
            ("postprocess", postprocess),
        ];
        for (stage, took) in stages {
            self.stages.record(took.as_secs_f64(), &[KeyValue::new("stage", stage)]);
        }
    }
}
