//! Pictures for slots to run, and the answers to their jobs.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use detector::{Detections, PreprocessedPicture};
use domain::DetectionSettings;
use parking_lot::Mutex;
use service::telemetry::traces::TraceContext;
use tokio::sync::oneshot;

use super::error::InferenceError;
use crate::{cores::Parallelism, models::LoadedModel};

/// What the job of one picture is answered with.
pub(crate) type JobResult = Result<Detections, InferenceError>;

/// A picture for a slot to run.
pub(crate) struct Picture {
    pub(crate) model: Arc<LoadedModel>,
    /// The picture as `model` takes it.
    pub(crate) prepared: PreprocessedPicture,
    pub(crate) settings: DetectionSettings,
    pub(crate) parallelism: Parallelism,
    /// The trace of its job.
    pub(crate) trace: TraceContext,
    /// The file it was decoded from. Only failpoints read it: tests select pictures by it.
    pub(crate) file: Bytes,
}

impl Picture {
    /// Width and height of its tensor.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.prepared.tensor.width, self.prepared.tensor.height)
    }
}

/// A picture, and the job that waits for its detections.
pub(crate) struct Work {
    pub(crate) picture: Picture,
    /// When the picture was ready to run.
    pub(crate) since: Instant,
    pub(crate) reply: Reply,
}

impl Work {
    pub(crate) fn new(picture: Picture) -> (Self, Answer) {
        let (reply, answer) = Reply::new();
        (Self { picture, since: Instant::now(), reply }, answer)
    }
}

/// Answers the job of one picture. The first answer of all clones counts: the slot's thread sends
/// detections, and the lease on the slot sends its failure.
#[derive(Clone)]
pub(crate) struct Reply(Arc<Mutex<Option<oneshot::Sender<JobResult>>>>);

impl Reply {
    pub(crate) fn new() -> (Self, Answer) {
        let (sender, answer) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(sender)))), Answer(answer))
    }

    pub(crate) fn send(&self, answer: JobResult) {
        if let Some(sender) = self.0.lock().take() {
            // Fails when the job was requeued and no longer waits.
            let _ = sender.send(answer);
        }
    }

    /// Whether the job no longer waits.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// What a job waits for.
pub(crate) struct Answer(oneshot::Receiver<JobResult>);

impl Answer {
    /// # Errors
    /// [`InferenceError`]; [`InferenceError::Broken`] when all replies were dropped.
    pub(crate) async fn detections(self) -> JobResult {
        self.0.await.unwrap_or(Err(InferenceError::Broken))
    }
}

/// Pictures that one run of a model takes: at least one, all for one version of one model and of one size.
pub(crate) struct Batch(Vec<Work>);

impl Batch {
    pub(crate) fn of(work: Work) -> Self {
        Self(vec![work])
    }

    /// Adds `work`. Returns it if it cannot be run together with the others.
    #[must_use = "a picture that was not added must wait for another batch"]
    pub(crate) fn try_push(&mut self, work: Work) -> Option<Work> {
        let is_alike = self.0.iter().all(|Work { picture, .. }| {
            Arc::ptr_eq(&picture.model, &work.picture.model)
                && picture.size() == work.picture.size()
        });
        if is_alike && self.missing() > 0 {
            self.0.push(work);
            None
        } else {
            Some(work)
        }
    }

    /// How many more pictures its model takes in the same run.
    pub(crate) fn missing(&self) -> usize {
        let most = self.0.first().map_or(0, |work| work.picture.model.max_batch());
        most.saturating_sub(self.0.len())
    }

    pub(crate) fn works(&self) -> &[Work] {
        &self.0
    }

    pub(crate) fn into_works(self) -> Vec<Work> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_first_answer_counts() {
        let (reply, answer) = Reply::new();
        let of_the_lease = reply.clone();
        reply.send(Err(InferenceError::SlotEnded));
        assert!(reply.is_closed(), "it is answered");
        of_the_lease.send(Err(InferenceError::Hung(Duration::ZERO)));
        assert!(matches!(answer.detections().await, Err(InferenceError::SlotEnded)));
    }

    #[tokio::test]
    async fn a_job_whose_replies_are_dropped_is_requeued() {
        let (reply, answer) = Reply::new();
        drop(reply.clone());
        assert!(!reply.is_closed());
        drop(reply);
        assert!(matches!(answer.detections().await, Err(InferenceError::Broken)));
    }

    #[test]
    fn a_job_that_no_longer_waits_is_known() {
        let (reply, answer) = Reply::new();
        drop(answer);
        assert!(reply.is_closed());
        reply.send(Err(InferenceError::Broken));
    }
}
