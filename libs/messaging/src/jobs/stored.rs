//! The jobs in the queue's stream, read without a consumer: a work queue allows no second one.

use std::collections::HashMap;

use async_nats::jetstream::{
    message::{PublishMessage, StreamMessage},
    response::Response,
    stream::{DeleteStatus, LastRawMessageErrorKind, Stream},
};
use domain::{Job, TaskId};
use time::OffsetDateTime;

use super::wire;
use crate::{
    Messaging, MessagingError,
    provision::{
        lanes,
        names::{JOBS_STREAM, JOBS_SUBJECT},
    },
    stream_subjects,
};

/// A job in the stream.
pub(crate) struct StoredJob {
    pub(crate) job: Job,
    /// Its sequence in the stream.
    pub(crate) sequence: u64,
    pub(crate) stored_at: OffsetDateTime,
}

/// The subjects of all jobs, from the leader's index.
pub(crate) async fn list(messaging: &Messaging) -> Result<HashMap<TaskId, String>, MessagingError> {
    subjects(messaging, "list the jobs in the queue", format!("{JOBS_SUBJECT}.>")).await
}

/// The subject of the task's job, as the leader's index has it; `None` if the job is not in the queue.
pub(crate) async fn subject_of(
    messaging: &Messaging,
    id: TaskId,
) -> Result<Option<String>, MessagingError> {
    let what = "look up the job of a task";
    // Most jobs are of normal priority.
    for filter in [format!("{JOBS_SUBJECT}.*.{id}"), format!("{JOBS_SUBJECT}.*.{id}.*")] {
        if let Some(subject) = subjects(messaging, what, filter).await?.remove(&id) {
            return Ok(Some(subject));
        }
    }
    Ok(None)
}

/// The subjects that match `filter`, by task. No picture is read.
async fn subjects(
    messaging: &Messaging,
    what: &'static str,
    filter: String,
) -> Result<HashMap<TaskId, String>, MessagingError> {
    let subjects = stream_subjects::list(messaging, what, JOBS_STREAM, filter).await?;
    // A message that is not a job becomes a dead letter when a worker pulls it.
    let of_job = |subject: String| Some((lanes::parse(&subject)?.1.parse().ok()?, subject));
    Ok(subjects.into_iter().filter_map(of_job).collect())
}

/// Whether the leader has a job of this subject.
pub(crate) async fn exists(messaging: &Messaging, subject: &str) -> Result<bool, MessagingError> {
    let found = subjects(messaging, "check that a job is stored", subject.to_owned()).await?;
    Ok(!found.is_empty())
}

/// The job of this subject, or `None` if there is none or it cannot be read.
pub(crate) async fn find(
    messaging: &Messaging,
    subject: &str,
) -> Result<Option<StoredJob>, MessagingError> {
    let Some(message) = message(messaging, subject).await? else { return Ok(None) };
    let (sequence, stored_at) = (message.sequence, message.time);
    let job = wire::decode(&delivered(message)).ok().map(|(job, _)| job);
    Ok(job.map(|job| StoredJob { job, sequence, stored_at }))
}

/// Stores a job again whose picture is in the object store. Returns whether it did: not if the job is there
/// after all, or the queue is full.
pub(crate) async fn restore(messaging: &Messaging, job: &Job) -> Result<bool, MessagingError> {
    let what = "store a lost job again";
    let headers = wire::encode_lost(job)
        .map_err(|cause| MessagingError::Record { task_id: job.task_id, cause })?;
    let message = PublishMessage::build().headers(headers);
    let publish =
        async { messaging.jetstream().send_publish(wire::job_subject(job), message).await?.await };
    match messaging.within_timeout(what, publish).await? {
        Ok(_) => Ok(true),
        Err(error) if crate::error::api_error(&error).is_some() => {
            tracing::debug!(task_id = %job.task_id, %error, "a lost job was refused by the queue");
            Ok(false)
        }
        Err(error) => Err(MessagingError::failed(what, error)),
    }
}

/// Deletes the job of this subject, if there is one.
///
/// By its sequence, although a purge of the subject would not read the picture. If a purged message is pending,
/// nats-server (2.14.6) raises the consumer's floor to it, while earlier ones are pending, too. The next
/// acknowledgement raises the floor in the stream past them, and the next leader of the stream deletes them: jobs that
/// were accepted and never run.
pub(crate) async fn remove(messaging: &Messaging, subject: &str) -> Result<(), MessagingError> {
    let mut failed = None;
    while let Some(StreamMessage { sequence, .. }) = message(messaging, subject).await? {
        match failed {
            Some((of, error)) if of == sequence => return Err(error),
            // A worker has settled it, or there was a second one.
            _ => failed = delete(messaging, sequence).await.err().map(|error| (sequence, error)),
        }
    }
    Ok(())
}

async fn delete(messaging: &Messaging, sequence: u64) -> Result<(), MessagingError> {
    let what = "delete a job";
    // The client library's own call has the server overwrite the message's bytes, too.
    let request = serde_json::json!({ "seq": sequence, "no_erase": true });
    let subject = format!("STREAM.MSG.DELETE.{JOBS_STREAM}");
    let answer = messaging.jetstream().request(subject.clone(), &request);
    let answer = messaging.if_permitted(what, format!("$JS.API.{subject}"), answer).await?;
    match answer.map_err(|error| MessagingError::failed(what, error))? {
        Response::Ok(DeleteStatus { .. }) => Ok(()),
        Response::Err { error } => Err(MessagingError::failed(what, error)),
    }
}

async fn jobs(messaging: &Messaging, what: &'static str) -> Result<Stream<()>, MessagingError> {
    messaging.within(what, messaging.jetstream().get_stream_no_info(JOBS_STREAM)).await
}

async fn message(
    messaging: &Messaging,
    subject: &str,
) -> Result<Option<StreamMessage>, MessagingError> {
    let what = "look up a job";
    let stream = jobs(messaging, what).await?;
    let message = stream.get_last_raw_message_by_subject(subject);
    match messaging.within_timeout(what, message).await? {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(MessagingError::failed(what, error)),
    }
}

/// As a consumer would have delivered it.
fn delivered(message: StreamMessage) -> async_nats::Message {
    let length = message.payload.len();
    async_nats::Message {
        subject: message.subject,
        reply: None,
        payload: message.payload,
        headers: Some(message.headers),
        status: None,
        description: None,
        length,
    }
}
