//! The metrics of shadow runs.

use domain::Comparison;
use opentelemetry::{KeyValue, metrics::Counter};
use service::telemetry::metrics::Metrics;

/// What became of a picture that the shadow model was to run as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShadowJobOutcome {
    Published,
    /// NATS did not store it, or too many are on their way.
    NotPublished,
    /// It does not travel inside its job's message.
    TooLarge,
}

impl ShadowJobOutcome {
    const ALL: [Self; 3] = [Self::Published, Self::NotPublished, Self::TooLarge];

    fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::NotPublished => "not_published",
            Self::TooLarge => "too_large",
        }
    }
}

/// What became of a shadow job that a worker has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShadowRunOutcome {
    /// Both models have found the same objects.
    Equal,
    /// At least one object is disputed.
    Differs,
    /// The shadow model could not run the picture.
    Failed,
    /// It was not run, or not stored.
    Dropped,
}

impl ShadowRunOutcome {
    const ALL: [Self; 4] = [Self::Equal, Self::Differs, Self::Failed, Self::Dropped];

    fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Differs => "differs",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// The instruments of shadow runs.
#[derive(Clone)]
pub(crate) struct ShadowMetrics {
    jobs: Counter<u64>,
    runs: Counter<u64>,
    objects: Counter<u64>,
}

impl ShadowMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let meter = metrics.meter();
        let this = Self {
            jobs: meter
                .u64_counter("spotter_shadow_jobs")
                .with_description("Pictures for the shadow model, and whether they were published.")
                .build(),
            runs: meter
                .u64_counter("spotter_shadow_runs")
                .with_description("Shadow jobs that were taken, by what came of the comparison.")
                .build(),
            objects: meter
                .u64_counter("spotter_shadow_objects")
                .with_description("Objects of compared pictures, by which model has found them.")
                .build(),
        };
        for outcome in ShadowJobOutcome::ALL {
            this.jobs.add(0, &[KeyValue::new("outcome", outcome.name())]);
        }
        for outcome in ShadowRunOutcome::ALL {
            this.runs.add(0, &[KeyValue::new("outcome", outcome.name())]);
        }
        this.count_objects(&Comparison::default());
        this
    }

    pub(super) fn count_job(&self, outcome: ShadowJobOutcome) {
        self.jobs.add(1, &[KeyValue::new("outcome", outcome.name())]);
    }

    pub(super) fn count_run(&self, outcome: ShadowRunOutcome) {
        self.runs.add(1, &[KeyValue::new("outcome", outcome.name())]);
    }

    pub(super) fn count_objects(&self, compared: &Comparison) {
        let counts = [
            ("both", compared.matched()),
            ("model", compared.only_a()),
            ("shadow_model", compared.only_b()),
            ("both_in_other_classes", compared.confused()),
        ];
        for (found_by, count) in counts {
            self.objects.add(u64::from(count), &[KeyValue::new("found_by", found_by)]);
        }
    }
}
