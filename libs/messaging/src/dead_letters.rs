//! The dead letters: listing, reading, requeuing and deleting them.

pub(crate) mod copy;
pub(crate) mod pictures;
pub(crate) mod wire;

use std::{fmt, str::FromStr};

use bytes::Bytes;
use domain::{Job, TaskId, TaskRecord};
use time::OffsetDateTime;

use self::wire::{DeadLetterHeaders, PicturePieces};
use crate::{
    Messaging, MessagingError, RequeueError,
    provision::names::{DEAD_LETTER_AGE, DEAD_LETTER_STREAM, DEAD_LETTER_SUBJECT},
    stream_range::{self, Payloads, Stored, StreamRange},
};

/// How many dead letters are read at a time.
const PAGE: usize = 200;

/// The messages that no worker could process. Each is kept for seven days, with its picture; when there are
/// too many, the oldest are deleted before that. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    messaging: Messaging,
}

/// A message that no worker could process.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Its sequence in the stream of dead letters.
    pub sequence: u64,
    /// When it became a dead letter.
    pub dead_lettered_at: OffsetDateTime,
    /// Why, as a text for operators.
    pub reason: String,
    /// How often it was delivered to a worker; 0 if unknown.
    pub deliveries: u32,
    /// The subject it was published under.
    pub original_subject: String,
    /// The job; `None` if the message was not a job.
    pub job: Option<Job>,
    /// Where its picture is.
    pub picture: DeadLetterPicture,
}

/// Where a dead letter's picture is. The payload of a message that is not a job counts as a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadLetterPicture {
    /// In the dead letter itself.
    Inline {
        /// Its length.
        bytes: u64,
    },
    /// In a stream of its own, in pieces.
    Stored(StoredPieces),
    /// The picture was gone already, or the message never had one.
    Absent,
}

/// A picture that is stored in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPieces(PicturePieces);

impl DeadLetterPicture {
    /// The picture's length in bytes, if there is one.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::Inline { bytes } => Some(*bytes),
            Self::Stored(StoredPieces(pieces)) => Some(pieces.bytes),
            Self::Absent => None,
        }
    }
}

/// The id of a dead letter: its task, or its sequence for a message that is not a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadLetterId {
    /// The task.
    Task(TaskId),
    /// The sequence in the stream of dead letters, from 1.
    Sequence(u64),
}

/// A text that cannot be parsed as a [`DeadLetterId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' names no dead letter: expected a task id, or a number for an unreadable message")]
pub struct InvalidDeadLetterId(pub String);

impl FromStr for DeadLetterId {
    type Err = InvalidDeadLetterId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(sequence @ 1..) = text.parse() {
            return Ok(Self::Sequence(sequence));
        }
        text.parse().map(Self::Task).map_err(|_| InvalidDeadLetterId(text.to_owned()))
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task_id) => task_id.fmt(f),
            Self::Sequence(sequence) => sequence.fmt(f),
        }
    }
}

impl DeadLetter {
    /// The id of this dead letter.
    #[must_use]
    pub fn id(&self) -> DeadLetterId {
        match &self.job {
            Some(job) => DeadLetterId::Task(job.task_id),
            None => DeadLetterId::Sequence(self.sequence),
        }
    }

    /// Until when it is kept, unless there are too many.
    #[must_use]
    pub fn kept_until(&self) -> OffsetDateTime {
        self.dead_lettered_at + DEAD_LETTER_AGE
    }
}

impl DeadLetters {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging }
    }

    /// The oldest dead letters after this sequence, at most 200; 0 begins with the first, and an empty list
    /// means that there are no more. Does not read pictures.
    ///
    /// # Errors
    /// [`MessagingError::NotProvisioned`], [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn list_after(&self, sequence: u64) -> Result<Vec<DeadLetter>, MessagingError> {
        self.page_after(sequence, PAGE).await
    }

    /// As [`DeadLetters::list_after`], at most `most`.
    ///
    /// # Errors
    /// As [`DeadLetters::list_after`].
    pub async fn page_after(
        &self,
        sequence: u64,
        most: usize,
    ) -> Result<Vec<DeadLetter>, MessagingError> {
        let from = sequence.saturating_add(1);
        let found = self.read(all(), from, most, Payloads::LeftOut).await?;
        Ok(found.into_iter().map(parse).collect())
    }

    /// The dead letter with this id, or `None` if there is none (any more).
    ///
    /// # Errors
    /// As [`DeadLetters::list_after`].
    pub async fn get(&self, id: DeadLetterId) -> Result<Option<DeadLetter>, MessagingError> {
        let (subject, from) = match id {
            DeadLetterId::Task(task_id) => (wire::dead_letter_subject(task_id), 1),
            DeadLetterId::Sequence(sequence) => (all(), sequence),
        };
        let found = self.read(subject, from, 1, Payloads::LeftOut).await?;
        let is_it = |found: &Stored| match id {
            DeadLetterId::Task(_) => true,
            DeadLetterId::Sequence(sequence) => found.sequence == sequence,
        };
        Ok(found.into_iter().find(is_it).map(parse))
    }

    /// The picture as the client sent it, or `None` if it is gone.
    ///
    /// # Errors
    /// As [`DeadLetters::list_after`].
    pub async fn picture(&self, letter: &DeadLetter) -> Result<Option<Bytes>, MessagingError> {
        match &letter.picture {
            DeadLetterPicture::Absent => Ok(None),
            DeadLetterPicture::Stored(StoredPieces(pieces)) => {
                pictures::get(&self.messaging, pieces).await
            }
            DeadLetterPicture::Inline { .. } => {
                let found = self.read(all(), letter.sequence, 1, Payloads::Read).await?;
                let letter = found.into_iter().find(|found| found.sequence == letter.sequence);
                Ok(letter.map(|found| found.message.payload))
            }
        }
    }

    /// Queues the job again as a new task and returns that task's id. The record of the old task stays
    /// terminal. The dead letter is deleted once the new job is stored. A deadline is as far away as it was
    /// for the old task.
    ///
    /// # Errors
    /// With [`RequeueError::Unfinished`] the job is in the queue and the dead letter is still there.
    /// Any other error changes nothing, except that a job whose publication was not confirmed may be run ([`SubmitError::Unconfirmed`](crate::SubmitError::Unconfirmed)).
    pub async fn requeue(&self, letter: &DeadLetter) -> Result<TaskId, RequeueError> {
        let Some(job) = &letter.job else { return Err(RequeueError::Unreadable) };
        let picture = self.picture(letter).await?.ok_or(RequeueError::PictureGone)?;
        let job = resubmitted(job);
        // The new id is a message id that the duplicate window does not have.
        let task_id = job.task_id;
        self.messaging.queue().submit(&job, picture).await?;
        let finish = async {
            self.messaging.tasks().create_queued(&TaskRecord::queued(job)).await?;
            self.discard(letter).await
        };
        match finish.await {
            Ok(()) => Ok(task_id),
            Err(cause) => Err(RequeueError::Unfinished { task_id, cause }),
        }
    }

    /// Deletes the dead letter and its picture. It is not an error if it is gone already.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn discard(&self, letter: &DeadLetter) -> Result<(), MessagingError> {
        let what = "delete a dead letter";
        let jetstream = self.messaging.jetstream();
        let stream =
            self.messaging.within(what, jetstream.get_stream_no_info(DEAD_LETTER_STREAM)).await?;
        let delete = stream.delete_message(letter.sequence);
        if let Err(error) = self.messaging.within_timeout(what, delete).await?
            // The server has one code for "no such message" and for a failed deletion.
            && self.get(DeadLetterId::Sequence(letter.sequence)).await?.is_some()
        {
            return Err(MessagingError::failed(what, error));
        }
        match (&letter.picture, &letter.job) {
            (DeadLetterPicture::Stored(_), Some(job)) => {
                pictures::remove(&self.messaging, job.task_id).await
            }
            _ => Ok(()),
        }
    }

    async fn read(
        &self,
        subject: String,
        from: u64,
        most: usize,
        payloads: Payloads,
    ) -> Result<Vec<Stored>, MessagingError> {
        let range = StreamRange { stream: DEAD_LETTER_STREAM, subject, from, most, payloads };
        stream_range::read(&self.messaging, &range).await
    }
}

/// The subject of all dead letters.
fn all() -> String {
    format!("{DEAD_LETTER_SUBJECT}.>")
}

/// The same job under a new id, submitted now. It is none of a batch, whose task has ended.
fn resubmitted(job: &Job) -> Job {
    let now = OffsetDateTime::now_utc();
    Job {
        submitted_at: now,
        deadline: job.deadline.map(|deadline| now + (deadline - job.submitted_at)),
        batch: None,
        ..job.clone().owned_by(job.owner)
    }
}

fn parse(found: Stored) -> DeadLetter {
    let Stored { sequence, stored_at, message } = found;
    let headers = message.headers.unwrap_or_default();
    let letter = wire::read_dead_letter(message.subject.as_str(), &headers);
    let DeadLetterHeaders { job, reason, deliveries, original_subject, pieces } = letter;
    let bytes = headers.get("Nats-Msg-Size").and_then(|size| size.as_str().parse().ok());
    let picture = match (pieces, bytes) {
        (Some(pieces), _) => DeadLetterPicture::Stored(StoredPieces(pieces)),
        (None, None | Some(0)) => DeadLetterPicture::Absent,
        (None, Some(bytes)) => DeadLetterPicture::Inline { bytes },
    };
    let dead_lettered_at = stored_at;
    DeadLetter { sequence, dead_lettered_at, reason, deliveries, original_subject, job, picture }
}

#[cfg(test)]
mod tests {
    use domain::{DetectionSettings, KeyId};

    use super::*;

    #[test]
    fn a_dead_letter_has_the_id_of_its_task_or_its_sequence() {
        let task_id = TaskId::generate();
        let cases = [
            (task_id.to_string(), Some(DeadLetterId::Task(task_id))),
            ("7".to_owned(), Some(DeadLetterId::Sequence(7))),
            ("0".to_owned(), None),
            ("-1".to_owned(), None),
            ("bus.jpg".to_owned(), None),
            (String::new(), None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().ok(), expected, "{text}");
            assert_eq!(expected.map_or(text.clone(), |id| id.to_string()), text);
        }
    }

    #[test]
    fn a_requeued_job_has_as_much_time_as_before() {
        let job = Job {
            submitted_at: OffsetDateTime::UNIX_EPOCH,
            deadline: Some(OffsetDateTime::UNIX_EPOCH + time::Duration::minutes(5)),
            ..Job::new(
                "bus.jpg".to_owned(),
                "yolov8n".parse().unwrap(),
                DetectionSettings::default(),
            )
        };
        let again = resubmitted(&job);
        assert_ne!(again.task_id, job.task_id);
        let owned = job.clone().owned_by(Some(KeyId::from_bytes([1; 6])));
        assert_eq!(resubmitted(&owned).owner, owned.owner);
        assert_eq!(again.deadline.unwrap() - again.submitted_at, time::Duration::minutes(5));
        assert_eq!(resubmitted(&Job { deadline: None, ..job }).deadline, None);
    }
}
