//! What was given up: dead letters, and webhooks that could not be delivered. Operators list it, try it again, or delete it.

use std::sync::Arc;

use bytes::Bytes;
use domain::{TaskId, TaskState};
use futures_util::{StreamExt, stream};
use messaging::{
    DeadLetter, DeadLetterId, DeadLetters, DeadWebhook, DeadWebhooks, MessagingError, RequeueError,
    TaskStore,
};
use tokio::sync::Mutex;

/// How many records are read at a time.
const READS_AT_A_TIME: usize = 8;

/// The API's access to what was given up. Cheap to clone.
#[derive(Clone)]
pub(crate) struct GivenUp {
    letters: DeadLetters,
    webhooks: DeadWebhooks,
    tasks: TaskStore,
    /// Held while something is tried again: of two requests to this API for the same, the second one finds it gone.
    in_turn: Arc<Mutex<()>>,
}

/// A part of a list, in the order in which its members were given up.
pub(crate) struct Page<T> {
    pub(crate) members: Vec<T>,
    /// The sequence after which the next page begins; `None` on the last one.
    pub(crate) next: Option<u64>,
}

/// A dead letter, and why its task has failed.
pub(crate) struct ExplainedLetter {
    pub(crate) letter: DeadLetter,
    /// What the task's record says; `None` if it has none any more.
    pub(crate) message: Option<String>,
}

impl GivenUp {
    pub(crate) fn new(messaging: &messaging::Messaging) -> Self {
        Self {
            letters: messaging.dead_letters(),
            webhooks: messaging.dead_webhooks(),
            tasks: messaging.tasks(),
            in_turn: Arc::default(),
        }
    }

    /// At most `limit` dead letters after this sequence.
    pub(crate) async fn letters(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Page<ExplainedLetter>, MessagingError> {
        let found = self.letters.page_after(after, limit + 1).await?;
        let Page { members, next } = page(found, limit, |letter| letter.sequence);
        let explained = stream::iter(members).map(async |letter| {
            let message = self.message(&letter).await;
            ExplainedLetter { letter, message }
        });
        Ok(Page { members: explained.buffered(READS_AT_A_TIME).collect().await, next })
    }

    /// Why the task of a dead letter has failed.
    async fn message(&self, letter: &DeadLetter) -> Option<String> {
        let task_id = letter.job.as_ref()?.task_id;
        match self.tasks.get(task_id).await {
            Ok(Some(record)) => match record.state {
                TaskState::Failure { message, .. } => Some(message),
                _ => None,
            },
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(%task_id, %error, "the record of a dead letter's task cannot be read");
                None
            }
        }
    }

    /// The dead letter with this id.
    pub(crate) async fn letter(
        &self,
        id: DeadLetterId,
    ) -> Result<Option<DeadLetter>, MessagingError> {
        self.letters.get(id).await
    }

    /// The picture of a dead letter; `None` if it is gone.
    pub(crate) async fn picture(
        &self,
        letter: &DeadLetter,
    ) -> Result<Option<Bytes>, MessagingError> {
        self.letters.picture(letter).await
    }

    /// Queues the job of a dead letter again, as the task that is returned; `None` if there is no such dead letter.
    pub(crate) async fn requeue(&self, id: DeadLetterId) -> Result<Option<TaskId>, RequeueError> {
        let _turn = self.in_turn.lock().await;
        let Some(letter) = self.letters.get(id).await? else { return Ok(None) };
        let task_id = self.letters.requeue(&letter).await?;
        tracing::info!(dead_letter = %id, %task_id, "an operator has requeued a dead letter");
        Ok(Some(task_id))
    }

    /// Deletes a dead letter; whether there was one.
    pub(crate) async fn discard(&self, id: DeadLetterId) -> Result<bool, MessagingError> {
        let _turn = self.in_turn.lock().await;
        let Some(letter) = self.letters.get(id).await? else { return Ok(false) };
        self.letters.discard(&letter).await?;
        tracing::info!(dead_letter = %id, "an operator has dropped a dead letter");
        Ok(true)
    }

    /// At most `limit` webhooks that were given up, after this sequence.
    pub(crate) async fn webhooks(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Page<DeadWebhook>, MessagingError> {
        let found = self.webhooks.page_after(after, limit + 1).await?;
        Ok(page(found, limit, |webhook| webhook.sequence))
    }

    /// Has the newest webhook of this task or batch delivered again; whether there was one.
    pub(crate) async fn replay(&self, id: TaskId) -> Result<bool, MessagingError> {
        let _turn = self.in_turn.lock().await;
        let Some(webhook) = self.webhooks.get(id).await? else { return Ok(false) };
        self.webhooks.replay(&webhook).await?;
        tracing::info!(task_id = %id, "an operator has replayed a webhook");
        Ok(true)
    }
}

/// The first `limit` of these, and where the others begin.
fn page<T>(mut found: Vec<T>, limit: usize, sequence: impl Fn(&T) -> u64) -> Page<T> {
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(sequence);
    Page { members: found, next }
}
