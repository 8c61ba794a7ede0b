//! Publishing shadow jobs. A picture that cannot be published is counted and forgotten.

use bytes::Bytes;
use domain::{ModelName, Sha256Digest, TaskId};
use messaging::{Delivery, ShadowJobs};
use tokio::sync::Semaphore;

use super::metrics::{ShadowJobOutcome, ShadowMetrics};
use crate::config::ShadowConfig;

/// How many may be on their way: a server that does not answer must not fill the memory with pictures.
const MOST_AT_A_TIME: usize = 16;

/// Publishes a share of this worker's jobs for the shadow model.
pub(crate) struct ShadowPublisher {
    model: ModelName,
    share: f64,
    jobs: ShadowJobs,
    on_their_way: Semaphore,
    metrics: ShadowMetrics,
}

/// A picture for the shadow model, to be published once its job is settled.
pub(crate) struct UnpublishedJob<'a> {
    publisher: &'a ShadowPublisher,
    task_id: TaskId,
    picture: Bytes,
}

impl ShadowPublisher {
    pub(crate) fn new(config: ShadowConfig, jobs: ShadowJobs, metrics: ShadowMetrics) -> Self {
        let ShadowConfig { model, share } = config;
        Self { model, share, jobs, on_their_way: Semaphore::new(MOST_AT_A_TIME), metrics }
    }

    /// The shadow job of a job that has succeeded, if it is to have one. Not those of the shadow model itself, nor those
    /// of pictures in tiles, of which each would take many runs.
    pub(crate) fn of(&self, delivery: &Delivery) -> Option<UnpublishedJob<'_>> {
        let job = &delivery.job;
        let is_candidate = job.model != self.model && job.settings.tiling.is_none();
        if !is_candidate || !is_chosen(job.task_id, self.share) {
            return None;
        }
        let Some(picture) = delivery.inline_picture() else {
            // Its object is deleted together with the job.
            self.metrics.count_job(ShadowJobOutcome::TooLarge);
            return None;
        };
        Some(UnpublishedJob { publisher: self, task_id: job.task_id, picture: picture.clone() })
    }
}

impl UnpublishedJob<'_> {
    /// Publishes it, once.
    pub(crate) async fn publish(self) {
        let Self { publisher, task_id, picture } = self;
        let ShadowPublisher { model, jobs, on_their_way, metrics, .. } = publisher;
        let Ok(_permit) = on_their_way.try_acquire() else {
            return metrics.count_job(ShadowJobOutcome::NotPublished);
        };
        metrics.count_job(match jobs.publish(model, task_id, picture).await {
            Ok(()) => ShadowJobOutcome::Published,
            Err(error) => {
                tracing::debug!(%task_id, %error, "a shadow job was not published");
                ShadowJobOutcome::NotPublished
            }
        });
    }
}

/// Whether a task is among this share of all tasks. The same for each delivery of its job, in each worker.
fn is_chosen(task_id: TaskId, share: f64) -> bool {
    const BITS: u32 = f64::MANTISSA_DIGITS;
    let digest = Sha256Digest::of(task_id.uuid().as_bytes());
    let first =
        digest.as_bytes().iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    // From 0 to less than 1, without rounding.
    let place = (first >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64;
    place < share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_tasks_is_chosen_and_always_the_same_ones() {
        let ids: Vec<TaskId> = (0..2000).map(|_| TaskId::generate()).collect();
        let chosen = |share| ids.iter().filter(|id| is_chosen(**id, share)).count();
        assert_eq!((chosen(0.0), chosen(1.0)), (0, 2000));
        // More than ten standard deviations.
        assert!((50..350).contains(&chosen(0.1)), "{}", chosen(0.1));
        for id in &ids {
            assert_eq!(is_chosen(*id, 0.3), is_chosen(*id, 0.3));
            assert!(
                !is_chosen(*id, 0.3) || is_chosen(*id, 0.4),
                "a larger share includes a smaller one"
            );
        }
    }
}
