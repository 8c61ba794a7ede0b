//! The worker's metrics.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use detector::StageTimings;
use domain::{DetectedObject, ModelName};
use messaging::{CONFIDENCE_BINS, LatencyHistogram};
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram},
};
use service::telemetry::metrics::Metrics;

use crate::{class_counts::ClassCounts, cores::Parallelism, latencies::Latencies, settle::Outcome};

/// Seconds: from a letterbox of half a millisecond to a model of ten seconds.
const STAGE_BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Seconds: from a job that is pulled at once to one that waits for a day.
const WAIT_BUCKETS: [f64; 13] =
    [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

const BATCH_BUCKETS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// A stage of a job's run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Decode,
    Letterbox,
    Infer,
    Postprocess,
    Draw,
    Store,
}

impl Stage {
    const ALL: [Self; 6] =
        [Self::Decode, Self::Letterbox, Self::Infer, Self::Postprocess, Self::Draw, Self::Store];

    /// Its name in the metric.
    fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Letterbox => "letterbox",
            Self::Infer => "infer",
            Self::Postprocess => "postprocess",
            Self::Draw => "draw",
            Self::Store => "store",
        }
    }

    /// Its name in the status.
    fn status_name(self) -> &'static str {
        match self {
            Self::Postprocess => "boxes",
            stage => stage.name(),
        }
    }
}

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
    /// In the order of [`Stage::ALL`].
    stages: [Latencies; Stage::ALL.len()],
    waits: Latencies,
    batches: Histogram<u64>,
    drawings: Counter<u64>,
    runs: Histogram<f64>,
    loads: Counter<u64>,
    evictions: Counter<u64>,
    classes: Arc<ClassCounts>,
}

impl WorkerMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let meter = metrics.meter();
        let stages = meter
            .f64_histogram("spotter_stage_seconds")
            .with_description("Time of each stage of detection.")
            .with_boundaries(STAGE_BUCKETS.to_vec())
            .build();
        let waits = meter
            .f64_histogram("spotter_queue_wait_seconds")
            .with_description("Time from a job's submission to the beginning of its first run.")
            .with_boundaries(WAIT_BUCKETS.to_vec())
            .build();
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
            stages: Stage::ALL.map(|stage| {
                Latencies::new(stages.clone(), &[KeyValue::new("stage", stage.name())])
            }),
            waits: Latencies::new(waits, &[]),
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
            classes: Arc::default(),
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
        self.waits.record(waited.try_into().unwrap_or_default());
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
        let stages = [
            (Stage::Decode, decode),
            (Stage::Letterbox, letterbox),
            (Stage::Infer, infer),
            (Stage::Postprocess, postprocess),
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

    pub(crate) fn record_stage(&self, stage: Stage, took: Duration) {
        self.stages[stage as usize].record(took);
    }

    /// The latencies of each stage in about the last minute; of the queue, those of jobs that began in it.
    pub(crate) fn recent_latencies(&self) -> BTreeMap<String, LatencyHistogram> {
        let stages = Stage::ALL.into_iter().zip(&self.stages);
        let stages = stages.map(|(stage, latencies)| (stage.status_name(), latencies));
        let all = stages.chain([("queue", &self.waits)]);
        all.map(|(name, latencies)| (name.to_owned(), latencies.recent())).collect()
    }

    /// Counts the objects that were found in a picture.
    pub(crate) fn count_objects(&self, objects: &[DetectedObject]) {
        self.classes.count(objects);
    }

    /// The objects that were found, by class and confidence.
    pub(crate) fn classes(&self) -> BTreeMap<String, [u64; CONFIDENCE_BINS]> {
        self.classes.most_frequent()
    }
}

pub(crate) fn by_model(model: &ModelName) -> KeyValue {
    KeyValue::new("model", model.to_string())
}
