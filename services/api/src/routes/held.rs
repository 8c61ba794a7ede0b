//! Requests in the manner of other servers, whose answer is held back until their pictures have been run. These go through
//! the same queue as all others, ahead of them.

use std::{
    num::NonZero,
    pin::pin,
    time::{Duration, Instant},
};

use domain::{
    DetectedObject, Drawing, FailureReason, Job, Priority, RunReport, TaskRecord, TaskState,
};
use futures_util::{Stream, StreamExt};

use super::{health::ApiHealth, rejection::Rejection, v1::wait_for_result};
use crate::{
    auth::{Caller, Overrun},
    tasks::{Tasks, submit::SubmitOptions},
    upload::UploadedPicture,
};

/// How long an answer is held back, and how long its job may wait for a worker: DeepStack's own default.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A request whose answer is held back.
pub(super) struct HeldRequest<'a> {
    tasks: &'a Tasks,
    health: &'a ApiHealth,
    caller: &'a Caller,
    began: Instant,
}

impl<'a> HeldRequest<'a> {
    /// One that begins now.
    pub(super) fn new(tasks: &'a Tasks, health: &'a ApiHealth, caller: &'a Caller) -> Self {
        Self { tasks, health, caller, began: Instant::now() }
    }

    /// Counts all of its pictures but the first, which the request was counted for, toward the rate of the key.
    ///
    /// # Errors
    /// [`Overrun`] if that does not permit them.
    pub(super) fn charge(&self, pictures: usize) -> Result<(), Overrun> {
        let more = u32::try_from(pictures.saturating_sub(1)).ok().and_then(NonZero::new);
        match (more, self.caller.submitter(), &self.tasks.rates) {
            (Some(more), Some(submitter), Some(keys)) => keys.charge(submitter.key, more),
            _ => Ok(()),
        }
    }

    /// Puts the picture into the queue, ahead of others, with what `options` say beside that.
    ///
    /// # Errors
    /// [`Rejection`] if it is not accepted.
    pub(super) async fn submit(
        &self,
        picture: UploadedPicture,
        options: SubmitOptions,
    ) -> Result<TaskRecord, Rejection> {
        let options = SubmitOptions {
            deadline: Some(TIMEOUT),
            priority: Priority::High,
            submitter: self.caller.submitter(),
            ..options
        };
        Ok(self.tasks.submit(picture, options).await?)
    }

    /// Puts all pictures into the queue, each once it has come.
    ///
    /// # Errors
    /// The first one, of a picture or of its submission. The pictures before it are cancelled.
    pub(super) async fn submit_all<E: From<Rejection>>(
        &self,
        pictures: impl Stream<Item = Result<(UploadedPicture, SubmitOptions), E>>,
    ) -> Result<Vec<TaskRecord>, E> {
        let mut pictures = pin!(pictures);
        let mut submitted = Vec::new();
        while let Some(picture) = pictures.next().await {
            let record = match picture {
                Ok((picture, options)) => self.submit(picture, options).await.map_err(E::from),
                Err(error) => Err(error),
            };
            match record {
                Ok(record) => submitted.push(record),
                Err(error) => {
                    self.cancel(submitted).await;
                    return Err(error);
                }
            }
        }
        Ok(submitted)
    }

    /// The tasks once all of them have ended, or as they are when the time is over.
    pub(super) async fn end_all(&self, submitted: Vec<TaskRecord>) -> Vec<TaskRecord> {
        let mut ended = Vec::with_capacity(submitted.len());
        for record in submitted {
            ended.push(self.end(record).await);
        }
        ended
    }

    async fn cancel(&self, submitted: Vec<TaskRecord>) {
        for TaskRecord { job: Job { task_id, .. }, .. } in submitted {
            if let Err(error) = self.tasks.cancel(task_id, self.caller.viewer()).await {
                tracing::warn!(%task_id, %error, "cannot cancel a picture of a refused request");
            }
        }
    }

    /// The task once it has ended, or as it is when the time is over.
    pub(super) async fn end(&self, submitted: TaskRecord) -> TaskRecord {
        let viewer = self.caller.viewer();
        wait_for_result(self.tasks, submitted, viewer, self.left(), &self.health.shutdown).await
    }

    /// How long it may still take.
    pub(super) fn left(&self) -> Duration {
        TIMEOUT.saturating_sub(self.elapsed())
    }

    /// How long ago it began.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// The result of a task.
pub(super) struct Found<'a> {
    pub(super) objects: &'a [DetectedObject],
    /// The size of the picture in pixels.
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) drawing: Option<Drawing>,
    /// `None`: it was cached.
    pub(super) run: Option<&'a RunReport>,
}

/// Why a task that was waited for has no result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoResult {
    /// It has failed.
    Failed { reason: FailureReason, message: String },
    /// It was not run in time, or was cancelled.
    Late,
}

impl NoResult {
    /// What a person reads of a task that was not run in time.
    pub(super) const LATE: &'static str =
        "no worker has run the picture in time: is one running, and does it keep up?";
}

impl<'a> Found<'a> {
    /// That of the task of `record`.
    ///
    /// # Errors
    /// [`NoResult`].
    pub(super) fn of(record: &'a TaskRecord) -> Result<Self, NoResult> {
        match &record.state {
            TaskState::Success { objects, width, height, drawing, run, .. } => Ok(Self {
                objects,
                width: *width,
                height: *height,
                drawing: *drawing,
                run: run.as_ref(),
            }),
            TaskState::Failure { reason, message, .. } => {
                Err(NoResult::Failed { reason: *reason, message: message.clone() })
            }
            TaskState::Queued { .. }
            | TaskState::Started { .. }
            | TaskState::Expired { .. }
            | TaskState::Revoked { .. } => Err(NoResult::Late),
        }
    }
}
