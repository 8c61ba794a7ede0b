//! The response cache: results by picture, model and settings.

use std::time::Duration;

use domain::{
    DetectedObject, DetectionSettings, Job, KeyId, Sha256Digest, Sha256Hasher, TaskRecord,
    TaskState, Tiling,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{connection::RedisCache, results::remaining_ttl};
use crate::{
    metrics::{ApiMetrics, CacheOutcome},
    models::workers::WorkerReports,
};

/// Part of every key. Increment it with every change of the results of the same model: the resize, the
/// decoding of boxes, the stored fields.
const VERSION: &str = "v2";

/// Results by picture, model and settings, for each API key apart: a result that was there at once would tell that another
/// has sent the same picture.
#[derive(Clone)]
pub(crate) struct ResponseCache {
    pub(crate) redis: RedisCache,
    /// The TTL of a result, from the end of its run.
    pub(crate) ttl: Duration,
    /// By these, the version of a model that a job would be run with is known.
    pub(crate) workers: WorkerReports,
    pub(crate) metrics: ApiMetrics,
}

/// The value in Redis.
#[derive(Debug, Serialize, Deserialize)]
struct Response {
    objects: Vec<DetectedObject>,
    width: u32,
    height: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl ResponseCache {
    /// The terminal state of this job, if its result is cached. Never that of a task with a drawing: only a worker draws,
    /// and drawings are not cached.
    pub(crate) async fn lookup(&self, job: &Job) -> Option<TaskState> {
        let picture = job.picture_sha256.filter(|_| job.annotated.is_none())?;
        let Some(model_digest) = self.workers.digest(&job.model) else {
            self.metrics.count_response_cache(CacheOutcome::ModelUnknown);
            return None;
        };
        let (response, outcome) =
            self.redis.get::<Response>(&key(picture, model_digest, &job.settings, job.owner)).await;
        self.metrics.count_response_cache(outcome);
        let Response { objects, width, height, warnings } = response?;
        Some(TaskState::Success {
            started_at: None,
            finished_at: OffsetDateTime::now_utc(),
            objects,
            width,
            height,
            warnings,
            run: None,
            model_digest: Some(model_digest),
            drawing: None,
            cached: true,
        })
    }

    /// Caches the result of a run without delaying the caller. The key has the model that was run, whichever
    /// the workers run now.
    pub(crate) fn put_in_background(&self, record: &TaskRecord) {
        let TaskState::Success { objects, width, height, warnings, model_digest, cached, .. } =
            &record.state
        else {
            return;
        };
        let (Some(picture), Some(model_digest), false) =
            (record.job.picture_sha256, *model_digest, *cached)
        else {
            return;
        };
        // Its warnings may be about its drawing.
        if record.job.annotated.is_some() {
            return;
        }
        let Some(ttl) = remaining_ttl(record, self.ttl) else { return };
        let response = Response {
            objects: objects.clone(),
            width: *width,
            height: *height,
            warnings: warnings.clone(),
        };
        let Ok(json) = serde_json::to_vec(&response) else { return };
        let key = key(picture, model_digest, &record.job.settings, record.job.owner);
        self.redis.put_in_background(key, json, ttl);
    }
}

fn key(
    picture: Sha256Digest,
    model: Sha256Digest,
    settings: &DetectionSettings,
    owner: Option<KeyId>,
) -> String {
    // Destructured, so that a new setting cannot be forgotten here.
    let DetectionSettings { confidence, iou, max_detections, class_agnostic, classes, tiling } =
        settings;
    let mut hasher = Sha256Hasher::new();
    hasher.update(picture.as_bytes());
    hasher.update(model.as_bytes());
    hasher.update(confidence.get().to_bits().to_be_bytes());
    hasher.update(iou.get().to_bits().to_be_bytes());
    hasher.update(max_detections.get().to_be_bytes());
    // Only where they differ from their defaults, so that older entries are still found.
    if *class_agnostic {
        hasher.update(b"class_agnostic");
    }
    if !classes.is_all() {
        hasher.update(b"classes");
        hasher.update(classes.to_string());
    }
    if let Some(Tiling { tiles, overlap }) = tiling {
        hasher.update(b"tiles");
        hasher.update(tiles.to_string());
        hasher.update(overlap.get().to_bits().to_be_bytes());
    }
    if let Some(owner) = owner {
        hasher.update(b"owner");
        hasher.update(owner.to_string());
    }
    format!("spotter:response:{VERSION}:{}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_input_of_a_result_changes_the_key() {
        let (one, two) = (Sha256Digest::from([1; 32]), Sha256Digest::from([2; 32]));
        let usual = DetectionSettings::default();
        let next = f32::from_bits(usual.confidence.get().to_bits() + 1);
        let tiled = |tiles: &str, overlap: f32| {
            let tiling =
                Tiling { tiles: tiles.parse().unwrap(), overlap: overlap.try_into().unwrap() };
            DetectionSettings { tiling: Some(tiling), ..usual.clone() }
        };
        let others = [
            DetectionSettings { confidence: next.try_into().unwrap(), ..usual.clone() },
            DetectionSettings { iou: 0.25.try_into().unwrap(), ..usual.clone() },
            DetectionSettings { max_detections: 7.try_into().unwrap(), ..usual.clone() },
            DetectionSettings { class_agnostic: true, ..usual.clone() },
            tiled("auto", 0.2),
            tiled("2x2", 0.2),
            tiled("2x2", 0.3),
            DetectionSettings { classes: "0".parse().unwrap(), ..usual.clone() },
            DetectionSettings { classes: "0,1".parse().unwrap(), ..usual.clone() },
        ];
        let unowned = |picture, model, settings: &_| key(picture, model, settings, None);
        let mut keys =
            vec![unowned(one, two, &usual), unowned(two, one, &usual), unowned(one, one, &usual)];
        keys.extend(others.iter().map(|settings| unowned(one, two, settings)));
        let owners = [[1; 6], [2; 6]].map(KeyId::from_bytes);
        keys.extend(owners.iter().map(|owner| key(one, two, &usual, Some(*owner))));
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "{keys:?}");
        assert_eq!(keys[0], unowned(one, two, &DetectionSettings::default()));
    }
}
