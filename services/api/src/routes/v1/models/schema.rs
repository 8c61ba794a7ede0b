//! A model as the versioned API shows it.

use messaging::{DescribedInput, ModelDescription, ModelReport};
use poem_openapi::{Object, types::Example};

use crate::models::KnownModel;

/// All models.
#[derive(Object)]
#[oai(example)]
pub(super) struct ModelList {
    /// In the order of their names, without their `labels`.
    models: Vec<Model>,
}

/// A model.
#[derive(Default, Object)]
#[oai(skip_serializing_if_is_none, example)]
pub(super) struct Model {
    /// The name by which requests ask for it.
    name: String,
    /// Whether it is run for requests that name no model.
    default: bool,
    /// Whether a worker serves it now. If none does, its jobs wait until one does, or until their deadline.
    served: bool,
    /// The layout of its outputs, by which its family is known (`head` in its `model.toml`). This, and all about the
    /// version up to `labels`, is absent until a worker has served the model.
    family: Option<String>,
    /// The licence of its weights, as it was stated when the model was installed.
    licence: Option<String>,
    /// The sha256 of its `model.toml`: `model_digest` in the results of this version.
    digest: Option<String>,
    /// The size of its input.
    input: Option<ModelInput>,
    /// The program that wrote the file it was installed from.
    producer: Option<String>,
    /// The sha256 of that file.
    source_sha256: Option<String>,
    /// How many classes it has.
    class_count: Option<usize>,
    /// The names of its classes, in the order of their ids.
    labels: Option<Vec<String>>,
    /// The workers that serve it now.
    workers: Vec<ModelWorker>,
    /// How many pictures these workers have run with it.
    runs: u64,
    /// How long the last runs took. Absent before the first one.
    latency: Option<Latency>,
    /// How many of its jobs wait for a worker, as of a few seconds ago. Absent where the queue has no consumers for the
    /// model: then no worker can take its jobs yet.
    waiting: Option<u64>,
    /// How many of its jobs workers have, as of a few seconds ago.
    in_progress: Option<u64>,
}

/// The size of a model's input in pixels: `long_side`, or `width` and `height`.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct ModelInput {
    /// Pictures are scaled to this longer side.
    long_side: Option<u32>,
    /// All pictures are brought to this width.
    width: Option<u32>,
    /// All pictures are brought to this height.
    height: Option<u32>,
}

/// A worker that serves a model.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
struct ModelWorker {
    /// The worker's name, as in `worker` of results.
    name: Option<String>,
    /// The version that it runs. While a model is replaced, workers may have different ones.
    digest: String,
    /// Whether the model is in its memory. If not, the next job waits until it is loaded.
    in_memory: Option<bool>,
    /// How many pictures it has run with the model since it started.
    runs: u64,
    /// How long its last runs took.
    latency: Option<Latency>,
}

/// The time of runs of a model, without the time before them in the queue. Of several workers: the mean of their means,
/// and the largest of their percentiles.
#[derive(Clone, Copy, Object)]
struct Latency {
    /// The mean, in milliseconds.
    mean_ms: f64,
    /// The 95th percentile, in milliseconds.
    p95_ms: f64,
}

impl From<Vec<KnownModel>> for ModelList {
    fn from(models: Vec<KnownModel>) -> Self {
        let without_labels = |model| Model { labels: None, ..Model::from(model) };
        Self { models: models.into_iter().map(without_labels).collect() }
    }
}

impl From<KnownModel> for Model {
    fn from(model: KnownModel) -> Self {
        let KnownModel { name, is_default, description, reports, depth } = model;
        let workers: Vec<ModelWorker> = reports.into_iter().map(ModelWorker::from).collect();
        Self {
            name: name.into(),
            default: is_default,
            served: !workers.is_empty(),
            runs: workers.iter().map(|worker| worker.runs).sum(),
            latency: Latency::of_all(&workers),
            workers,
            waiting: depth.map(|depth| depth.waiting),
            in_progress: depth.map(|depth| depth.in_progress),
            ..description.map(Self::described).unwrap_or_default()
        }
    }
}

impl Model {
    fn described(description: ModelDescription) -> Self {
        Self {
            family: Some(description.head),
            licence: Some(description.license),
            digest: Some(description.model_digest.to_string()),
            input: Some(description.input.into()),
            producer: Some(description.producer),
            source_sha256: Some(description.source_sha256.to_string()),
            class_count: Some(description.labels.len()),
            labels: Some(description.labels.iter().map(str::to_owned).collect()),
            ..Self::default()
        }
    }
}

impl From<DescribedInput> for ModelInput {
    fn from(input: DescribedInput) -> Self {
        match input {
            DescribedInput::LongSide(side) => {
                Self { long_side: Some(side), width: None, height: None }
            }
            DescribedInput::Fixed { width, height } => {
                Self { long_side: None, width: Some(width), height: Some(height) }
            }
        }
    }
}

impl From<ModelReport> for ModelWorker {
    fn from(report: ModelReport) -> Self {
        let ModelReport { model_digest, worker, in_memory, runs, mean_ms, p95_ms } = report;
        let latency = mean_ms.zip(p95_ms);
        Self {
            name: worker,
            digest: model_digest.to_string(),
            in_memory,
            runs,
            latency: latency.map(|(mean, p95)| Latency::new(mean.into(), p95.into())),
        }
    }
}

impl Latency {
    fn new(mean_ms: f64, p95_ms: f64) -> Self {
        let to_hundredths = |ms: f64| (ms * 100.0).round() / 100.0;
        Self { mean_ms: to_hundredths(mean_ms), p95_ms: to_hundredths(p95_ms) }
    }

    fn of_all(workers: &[ModelWorker]) -> Option<Self> {
        let times: Vec<Self> = workers.iter().filter_map(|worker| worker.latency).collect();
        if times.is_empty() {
            return None;
        }
        let mean = times.iter().map(|time| time.mean_ms).sum::<f64>() / times.len() as f64;
        let p95 = times.iter().map(|time| time.p95_ms).fold(0.0, f64::max);
        Some(Self::new(mean, p95))
    }
}

impl Example for ModelList {
    fn example() -> Self {
        Self { models: vec![Model { labels: None, ..Model::example() }] }
    }
}

impl Example for Model {
    fn example() -> Self {
        let digest = "5f2c8d1e".repeat(8);
        let latency = Some(Latency { mean_ms: 41.6, p95_ms: 55.2 });
        Self {
            name: "yolov8n".to_owned(),
            default: true,
            served: true,
            family: Some("yolov8-cut".to_owned()),
            licence: Some("AGPL-3.0".to_owned()),
            digest: Some(digest.clone()),
            input: Some(DescribedInput::LongSide(640).into()),
            producer: Some("pytorch 2.8".to_owned()),
            source_sha256: Some("0b9e3a71".repeat(8)),
            class_count: Some(3),
            labels: Some(["person", "bicycle", "car"].map(str::to_owned).into()),
            workers: vec![ModelWorker {
                name: Some("worker-1".to_owned()),
                digest,
                in_memory: Some(true),
                runs: 1200,
                latency,
            }],
            runs: 1200,
            latency,
            waiting: Some(0),
            in_progress: Some(2),
        }
    }
}
