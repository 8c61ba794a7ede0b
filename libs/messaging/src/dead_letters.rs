//! The jobs that were given up, for people to look at, to run again or to throw away.

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
    provision::names::{DEAD_LETTER_STREAM, DEAD_LETTER_SUBJECT},
    stream_range::{self, Payloads, Stored, StreamRange},
};

/// How many dead letters are read at a time.
const PAGE: usize = 200;

/// The messages that no worker could deal with. Each is kept for seven days, together with its
/// picture; before that the oldest make room when there are too many. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    messaging: Messaging,
}

/// A message that was given up.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// Its place among the dead letters.
    pub sequence: u64,
    /// When it was given up.
    pub dead_lettered_at: OffsetDateTime,
    /// Why, for people.
    pub reason: String,
    /// How often it had been handed to a worker; 0 if that is not known.
    pub deliveries: u32,
    /// The subject it was published under.
    pub original_subject: String,
    /// The job, or `None` if the message was none.
    pub job: Option<Job>,
    /// Where its picture is.
    pub picture: DeadLetterPicture,
}

/// Where a dead letter's picture is. Of a message that is no job, its payload stands for a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadLetterPicture {
    /// In the dead letter itself.
    Inline {
        /// Its length.
        bytes: u64,
    },
    /// Beside the dead letter, in pieces.
    Stored(StoredPieces),
    /// It was gone when the job was given up, or the message never had one.
    Absent,
}

/// A picture that is kept in pieces.
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

/// What a dead letter is called: by its task, or by its place where it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadLetterId {
    /// The task that was given up.
    Task(TaskId),
    /// The place among the dead letters, from 1.
    Sequence(u64),
}

/// A text that is no [`DeadLetterId`].
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
    /// What this dead letter is called.
    #[must_use]
    pub fn id(&self) -> DeadLetterId {
        match &self.job {
            Some(job) => DeadLetterId::Task(job.task_id),
            None => DeadLetterId::Sequence(self.sequence),
        }
    }
}

impl DeadLetters {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging }
    }

    /// The oldest dead letters behind the one with this sequence, at most 200; 0 begins with the
    /// first, and none means that there are no more. Pictures are not read.
    ///
    /// # Errors
    /// [`MessagingError::NotProvisioned`], [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn list_after(&self, sequence: u64) -> Result<Vec<DeadLetter>, MessagingError> {
        let from = sequence.saturating_add(1);
        let found = self.read(all(), from, PAGE, Payloads::LeftOut).await?;
        Ok(found.into_iter().map(understand).collect())
    }

    /// The dead letter of this name, or `None` if there is none (any more).
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
        Ok(found.into_iter().find(is_it).map(understand))
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

    /// Puts the job back into the queue as a new task and returns that task's id. The end of the old
    /// task stays what it was: an end is final. Only when the new job is stored is the dead letter
    /// removed. A deadline is as far away as it was for the old task.
    ///
    /// # Errors
    /// With [`RequeueError::Unfinished`] the job is in the queue and the dead letter is still there.
    /// Any other error leaves all as it was, except that a job whose publication was not confirmed
    /// may be run ([`SubmitError::Unconfirmed`](crate::SubmitError::Unconfirmed)).
    pub async fn requeue(&self, letter: &DeadLetter) -> Result<TaskId, RequeueError> {
        let Some(job) = &letter.job else { return Err(RequeueError::Unreadable) };
        let picture = self.picture(letter).await?.ok_or(RequeueError::PictureGone)?;
        let job = job_again(job);
        // A new id, and so a message id that the duplicate window does not know.
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

    /// Removes the dead letter and its picture. One that is gone already is no error.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn discard(&self, letter: &DeadLetter) -> Result<(), MessagingError> {
        let what = "remove a dead letter";
        let jetstream = self.messaging.jetstream();
        let stream =
            self.messaging.within(what, jetstream.get_stream_no_info(DEAD_LETTER_STREAM)).await?;
        let delete = stream.delete_message(letter.sequence);
        if let Err(error) = self.messaging.within_timeout(what, delete).await?
            // The server has one code for "no such message" and "it could not be removed".
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

/// Matches every dead letter.
fn all() -> String {
    format!("{DEAD_LETTER_SUBJECT}.>")
}

/// The same work under a new id, from now on.
fn job_again(job: &Job) -> Job {
    let now = OffsetDateTime::now_utc();
    Job {
        task_id: TaskId::generate(),
        submitted_at: now,
        deadline: job.deadline.map(|deadline| now + (deadline - job.submitted_at)),
        ..job.clone()
    }
}

fn understand(found: Stored) -> DeadLetter {
    let Stored { sequence, stored_at, message } = found;
    let headers = message.headers.unwrap_or_default();
    let buried = wire::read_dead_letter(message.subject.as_str(), &headers);
    let DeadLetterHeaders { job, reason, deliveries, original_subject, pieces } = buried;
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
    use domain::DetectionSettings;

    use super::*;

    #[test]
    fn a_dead_letter_is_named_by_task_or_number() {
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
    fn a_job_that_runs_again_has_as_much_time_as_it_had() {
        let job = Job {
            task_id: TaskId::generate(),
            picture_name: "bus.jpg".to_owned(),
            model: "yolov8n".parse().unwrap(),
            settings: DetectionSettings::default(),
            submitted_at: OffsetDateTime::UNIX_EPOCH,
            deadline: Some(OffsetDateTime::UNIX_EPOCH + time::Duration::minutes(5)),
            picture_sha256: None,
        };
        let again = job_again(&job);
        assert_ne!(again.task_id, job.task_id);
        assert_eq!(again.deadline.unwrap() - again.submitted_at, time::Duration::minutes(5));
        assert_eq!(job_again(&Job { deadline: None, ..job }).deadline, None);
    }
}
