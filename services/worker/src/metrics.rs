//! The worker's metrics.

use std::time::Duration;

use detector::StageTimings;
use domain::ModelName;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use service::telemetry::metrics::Metrics;

use crate::{cores::Parallelism, settle::Outcome};

/// Seconds: from a letterbox of half a millisecond to a model of ten seconds.
const STAGE_BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Seconds: from a job that is pulled at once to one that waits for a day.
const WAIT_BUCKETS: [f64; 13] =
    [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

const BATCH_BUCKETS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// The outcome of loading a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoadOutcome {
    Loaded,
    Failed,
}

impl LoadOutcome {
    const ALL: [Self; 2] = [Self::Loaded, Self::Failed];

    fn name(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Failed => "failed",
        }
    }
}

/// The worker's instruments.
#[derive(Clone)]
pub(crate) struct WorkerMetrics {
    deliveries: Counter<u64>,
    jobs: Counter<u64>,
    pictures: Counter<u64>,
    stages: Histogram<f64>,
    waits: Histogram<f64>,
    batches: Histogram<u64>,
    drawings: Counter<u64>,
    runs: Histogram<f64>,
    loads: Counter<u64>,
    evictions: Counter<u64>,
}

impl WorkerMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let meter = metrics.meter();
        let this = Self {
            deliveries: meter
                .u64_counter("spotter_deliveries")
                .with_description(
                    "Jobs handed to this worker, and whether it was for the first time.",
                )
                .build(),
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
            waits: meter
                .f64_histogram("spotter_queue_wait_seconds")
                .with_description("Time from a job's submission to the beginning of its first run.")
                .with_boundaries(WAIT_BUCKETS.to_vec())
                .build(),
            batches: meter
                .u64_histogram("spotter_batch_size")
                .with_description("Pictures that a slot takes together, where batches are made.")
                .with_boundaries(BATCH_BUCKETS.to_vec())
                .build(),
            drawings: meter
                .u64_counter("spotter_drawings")
                .with_description("Drawings of annotated tasks, and whether they were stored.")
                .build(),
            runs: meter
                .f64_histogram("spotter_model_run_seconds")
                .with_description("Time of the model for each picture, by model.")
                .with_boundaries(STAGE_BUCKETS.to_vec())
                .build(),
            loads: meter
                .u64_counter("spotter_model_loads")
                .with_description("Loads of models into memory, by model and outcome.")
                .build(),
            evictions: meter
                .u64_counter("spotter_model_evictions")
                .with_description("Models dropped from memory to stay within the budget, by model.")
                .build(),
        };
        this.begin_at_zero();
        this
    }

    /// An alert on an increase does not see a series that begins with a 1.
    fn begin_at_zero(&self) {
        for outcome in Outcome::NAMES {
            self.jobs.add(0, &[KeyValue::new("outcome", outcome)]);
        }
        for redelivered in [false, true] {
            self.deliveries.add(0, &[KeyValue::new("redelivered", redelivered)]);
        }
        for is_stored in [false, true] {
            self.drawings.add(0, &[KeyValue::new("stored", is_stored)]);
        }
    }

    pub(crate) fn count_drawing(&self, is_stored: bool) {
        self.drawings.add(1, &[KeyValue::new("stored", is_stored)]);
    }

    /// `attempt` counts deliveries of the job from 1.
    pub(crate) fn count_delivery(&self, attempt: u32) {
        self.deliveries.add(1, &[KeyValue::new("redelivered", attempt > 1)]);
    }

    /// Records how long a job has waited for its first run.
    pub(crate) fn record_wait(&self, waited: time::Duration) {
        // Negative where the API's clock is ahead.
        self.waits.record(waited.as_seconds_f64().max(0.0), &[]);
    }

    pub(crate) fn count_job(&self, outcome: &'static str) {
        self.jobs.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn count_picture(&self, parallelism: Parallelism) {
        let cores = match parallelism {
            Parallelism::Slot => "slot",
            Parallelism::AllCores => "all",
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
            self.record_stage(stage, took);
        }
    }

    /// Records the run of one picture. In a batch, its share of the run's time.
    pub(crate) fn record_run(&self, model: &ModelName, took: Duration) {
        self.runs.record(took.as_secs_f64(), &[by_model(model)]);
    }

    /// Begins the series of a model at zero.
    pub(crate) fn begin_model(&self, model: &ModelName) {
        for outcome in LoadOutcome::ALL {
            self.loads.add(0, &[by_model(model), KeyValue::new("outcome", outcome.name())]);
        }
        self.evictions.add(0, &[by_model(model)]);
    }

    pub(crate) fn count_load(&self, model: &ModelName, outcome: LoadOutcome) {
        self.loads.add(1, &[by_model(model), KeyValue::new("outcome", outcome.name())]);
    }

    pub(crate) fn count_eviction(&self, model: &ModelName) {
        self.evictions.add(1, &[by_model(model)]);
    }

    pub(crate) fn record_stage(&self, stage: &'static str, took: Duration) {
        self.stages.record(took.as_secs_f64(), &[KeyValue::new("stage", stage)]);
    }
}

pub(crate) fn by_model(model: &ModelName) -> KeyValue {
    KeyValue::new("model", model.to_string())
}
