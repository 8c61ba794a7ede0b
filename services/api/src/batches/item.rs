//! One picture of a batch, from its arrival until it is accepted or refused.

use std::time::Duration;

use domain::{BatchItem, ItemRefusal, Job, TaskRecord};
use messaging::MessagingError;
use tokio::time::{Instant, sleep};

use super::{Batches, route_hooks::RouteHooks};
use crate::{
    tasks::submit::{NotAccepted, SubmitOptions},
    upload::{ArrivedPicture, UploadedPicture},
};

/// How long a picture waits at a time for room in the queue.
const ROOM_PAUSE: Duration = Duration::from_secs(2);
/// How often a picture is submitted to a queue that does not answer.
const SUBMISSIONS: u32 = 3;
/// How often a picture is fetched while too many others are, and the pause in between.
const FETCHES: u32 = 60;
const FETCH_PAUSE: Duration = Duration::from_millis(500);

/// A picture of a batch, and what it is submitted with.
pub(super) struct Item {
    pub(super) item: BatchItem,
    pub(super) name: String,
    pub(super) picture: ArrivedPicture,
    pub(super) options: SubmitOptions,
    /// Whether an earlier request may have sent it.
    pub(super) is_repeated: bool,
}

/// What ends the whole batch.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fatal {
    #[error(transparent)]
    NotAccepted(#[from] NotAccepted),
    #[error(transparent)]
    Messaging(#[from] MessagingError),
}

/// What became of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    Accepted,
    Refused,
}

impl Batches {
    /// Accepts or refuses a picture, and stores that.
    pub(super) async fn place(&self, item: Item, hooks: RouteHooks) -> Result<Placed, Fatal> {
        let Item { item, name, picture, options, is_repeated } = item;
        let picture = match picture {
            ArrivedPicture::Sent(picture) => Ok(picture),
            ArrivedPicture::Refused(error) => Err(error),
            ArrivedPicture::At(url) => url.fetch_in_turn(FETCHES, FETCH_PAUSE).await,
        };
        // A list may say another name than the URL.
        let picture = picture.map(|picture| match name.is_empty() {
            true => picture,
            false => UploadedPicture { name: name.clone(), ..picture },
        });
        let picture = match picture {
            Ok(picture) => picture,
            Err(error) => {
                let (kind, detail) = (hooks.problem)(error);
                let refusal = ItemRefusal { name, kind: kind.to_owned(), detail };
                self.store.note_refused(item, &refusal).await?;
                self.tasks.metrics.count_batch_item("refused");
                return Ok(Placed::Refused);
            }
        };
        self.accept(item, picture, options, is_repeated).await?;
        self.tasks.metrics.count_batch_item("accepted");
        Ok(Placed::Accepted)
    }

    async fn accept(
        &self,
        item: BatchItem,
        picture: UploadedPicture,
        options: SubmitOptions,
        is_repeated: bool,
    ) -> Result<(), Fatal> {
        let terms = options.terms();
        // Held as long as the bytes.
        let UploadedPicture { name, bytes, sha256, slot: _slot } = picture;
        let mut job = self.tasks.job(name, sha256, options);
        job.task_id = item.task_id();
        job.batch = Some(item);
        if is_repeated && let Some(earlier) = self.tasks.store.find(job.task_id).await? {
            return is_same(&earlier, &job);
        }
        let began = Instant::now();
        let mut submissions = 1;
        loop {
            let pause = match self.tasks.submit_item(&job, bytes.clone(), terms).await {
                Ok(_) => break,
                Err(
                    NotAccepted::QueueFull { .. }
                    | NotAccepted::QuotaExceeded { .. }
                    | NotAccepted::RateExceeded { .. },
                ) if began.elapsed() < self.limits.wait => ROOM_PAUSE,
                Err(NotAccepted::Unavailable { .. }) if submissions < SUBMISSIONS => {
                    submissions += 1;
                    ROOM_PAUSE
                }
                Err(error) => return Err(error.into()),
            };
            sleep(pause).await;
        }
        if is_repeated {
            // That the earlier request did not get so far.
            self.store.forget_refusal(item).await?;
        }
        Ok(())
    }
}

/// A retry sends the same pictures in the same order.
fn is_same(earlier: &TaskRecord, job: &Job) -> Result<(), Fatal> {
    let earlier = &earlier.job;
    let digests = earlier.picture_sha256.zip(job.picture_sha256);
    let is_other = digests.is_some_and(|(earlier, again)| earlier != again);
    if earlier.picture_name != job.picture_name || is_other {
        return Err(NotAccepted::KeyReused.into());
    }
    Ok(())
}
