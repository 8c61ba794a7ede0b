//! The errors of this crate.

use std::{error::Error, time::Duration};

use async_nats::jetstream;
use domain::TaskId;

/// An error of the client library, of any of its types.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// Why a request to NATS failed.
#[derive(Debug, thiserror::Error)]
pub enum MessagingError {
    /// The credentials file cannot be read.
    #[error("the NATS credentials file cannot be used: {0}")]
    Credentials(#[source] std::io::Error),
    /// The server refuses the login.
    #[error(
        "the NATS server at {address} refuses this login: check user and password in the URL, \
         or the credentials file"
    )]
    LoginRefused {
        /// The servers' addresses, without the login.
        address: String,
    },
    /// No server answered in time.
    #[error(
        "no NATS server answered at {address} within {waited:?} ({cause}): \
         check that nats-server runs there with JetStream (-js), or set another address"
    )]
    Unreachable {
        /// The servers' addresses, without the login.
        address: String,
        /// For how long the client tried to connect.
        waited: Duration,
        /// The error of the last attempt.
        cause: String,
    },
    /// A request was not answered in time. It may still be carried out.
    #[error("no answer to '{what}' within {after:?}")]
    Timeout {
        /// The request.
        what: &'static str,
        /// The timeout.
        after: Duration,
    },
    /// The server is known not to store messages of this stream, as on a full disk. The request may still
    /// have been carried out.
    #[error("'{what}' failed: the server does not store messages of stream {stream}: {why}")]
    CannotStore {
        /// The request.
        what: &'static str,
        /// The stream.
        stream: &'static str,
        /// The server's description of the fault.
        why: String,
    },
    /// A stream, consumer or bucket cannot be provisioned as configured.
    #[error("{what} cannot be provisioned as configured: {cause}; {advice}")]
    Provision {
        /// What was to be provisioned.
        what: String,
        /// The error of the server.
        #[source]
        cause: Cause,
        /// What the operator can do.
        advice: String,
    },
    /// These credentials may not make the request.
    #[error(
        "'{what}' is not permitted: these credentials may not publish to {subject}; check which user \
         this process logs in as, and that user's permissions"
    )]
    NotPermitted {
        /// The request.
        what: &'static str,
        /// The subject that the server denied.
        subject: String,
    },
    /// A stream or the consumer is missing, and these credentials may not create it.
    #[error(
        "{what} is missing, and these credentials may not create it: it must be provisioned first, with \
         credentials that may"
    )]
    MustBeProvisioned {
        /// The missing stream or consumer.
        what: String,
    },
    /// The server has no queue of spotter. It may be the wrong server.
    #[error(
        "the NATS server at {address} has no queue of spotter: check the address; an API or a worker \
         provisions the queue when it starts"
    )]
    NotProvisioned {
        /// The servers' addresses, without the login.
        address: String,
    },
    /// The server refused the request, or the connection broke.
    #[error("'{what}' failed: {cause}")]
    Failed {
        /// The request.
        what: &'static str,
        /// The error of the client library or of the server.
        #[source]
        cause: Cause,
    },
    /// A stored record cannot be read, or a record cannot be written as JSON.
    #[error("the record of task {task_id} cannot be read or written: {cause}")]
    Record {
        /// The task.
        task_id: TaskId,
        /// Why not.
        #[source]
        cause: serde_json::Error,
    },
    /// Other processes changed the record between each read and write of this one.
    #[error(
        "the record of task {task_id} was changed by other processes at each of {attempts} attempts"
    )]
    Contended {
        /// The task.
        task_id: TaskId,
        /// The number of attempts.
        attempts: u32,
    },
}

/// What must change before a retry can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A setting of this process, or the permissions of its credentials.
    Configuration,
    /// The settings of streams, or the servers that are to hold them: in a cluster that is still
    /// forming, waiting may help.
    Provisioning,
    /// Other credentials must provision something first.
    NotProvisioned,
    /// Nothing: no connection, no answer, or a server that cannot do it now. Retry later.
    Transient,
    /// The stored data.
    Data,
}

impl MessagingError {
    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Credentials(_) | Self::LoginRefused { .. } | Self::NotPermitted { .. } => {
                ErrorKind::Configuration
            }
            Self::Provision { .. } => ErrorKind::Provisioning,
            Self::MustBeProvisioned { .. } | Self::NotProvisioned { .. } => {
                ErrorKind::NotProvisioned
            }
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::CannotStore { .. }
            | Self::Failed { .. }
            | Self::Contended { .. } => ErrorKind::Transient,
            Self::Record { .. } => ErrorKind::Data,
        }
    }

    /// Whether a setting must be changed before a retry can succeed. A process that cannot start for this
    /// reason should not be restarted.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        self.kind() == ErrorKind::Configuration
    }

    pub(crate) fn failed(what: &'static str, cause: impl Into<Cause>) -> Self {
        Self::Failed { what, cause: cause.into() }
    }
}

/// Why a job was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full. Nothing was stored; retry later.
    #[error("the queue is full: {detail}")]
    QueueFull {
        /// The server's description of the limit.
        detail: String,
    },
    /// The job was not stored: no connection, or a server that cannot store it now.
    #[error("the queue cannot be reached: {detail}")]
    Unavailable {
        /// Why.
        detail: String,
    },
    /// The server did not confirm in time. The job may still be stored and run; submitting it again
    /// under the same id within the duplicate window is safe.
    #[error("the server did not confirm job {task_id}: it may still be run")]
    Unconfirmed {
        /// The job's id.
        task_id: TaskId,
    },
    /// The job can never be stored: it is larger than a message may be, even without its picture.
    #[error("the job's own data is larger than the server's max_payload of {max_payload} bytes")]
    TooLarge {
        /// The server's `max_payload` in bytes.
        max_payload: usize,
    },
}

/// Why a picture could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PictureFetchError {
    /// It is not in the object store any more. A retry is useless.
    #[error("the picture of task {task_id} is gone from the object store")]
    Gone {
        /// The task.
        task_id: TaskId,
    },
    /// It has more bytes than pictures may have. A retry is useless.
    #[error("the picture of task {task_id} in the object store has more than {most} bytes")]
    TooLarge {
        /// The task.
        task_id: TaskId,
        /// The limit in bytes.
        most: u64,
    },
    /// It could not be read now. Retry later.
    #[error("the picture cannot be read now: {0}")]
    Transient(#[source] MessagingError),
}

/// Why a dead letter was not requeued.
#[derive(Debug, thiserror::Error)]
pub enum RequeueError {
    /// The message cannot be read as a job.
    #[error("the message is not a job: it can only be dropped")]
    Unreadable,
    /// The picture of the job is gone.
    #[error("its picture is gone: it can only be dropped")]
    PictureGone,
    /// The queue did not accept the job.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The dead letter could not be read.
    #[error(transparent)]
    Read(#[from] MessagingError),
    /// The job is in the queue, and a later step failed.
    #[error(
        "the job is queued again as task {task_id}, but its dead letter is still there ({cause}): \
         drop it, or the job will be run twice"
    )]
    Unfinished {
        /// The new task.
        task_id: TaskId,
        /// What failed.
        #[source]
        cause: MessagingError,
    },
}

/// The error of the server's JetStream API in `error`'s chain of sources.
pub(crate) fn api_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a jetstream::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<jetstream::Error>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
