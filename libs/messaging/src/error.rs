//! Everything that can go wrong between this process and the NATS server.

use std::{error::Error, time::Duration};

use async_nats::jetstream;
use domain::TaskId;

/// An error of the client library, whichever of its many types.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// Why something asked of the messaging layer did not happen.
#[derive(Debug, thiserror::Error)]
pub enum MessagingError {
    /// The credentials file cannot be read.
    #[error("the NATS credentials file cannot be used: {0}")]
    Credentials(#[source] std::io::Error),
    /// The server refuses this user.
    #[error(
        "the NATS server at {address} refuses this login: check user and password in the URL, \
         or the credentials file"
    )]
    LoginRefused {
        /// The server's address, without the password.
        address: String,
    },
    /// No server answered in time.
    #[error(
        "no NATS server answered at {address} within {waited:?} ({cause}): \
         check that nats-server runs there with JetStream (-js), or set another address"
    )]
    Unreachable {
        /// The address that was tried, without the password.
        address: String,
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt said.
        cause: String,
    },
    /// A question was not answered in time; what it asked for may still happen.
    #[error("no answer to '{what}' within {after:?}")]
    Timeout {
        /// What was asked.
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The server is known not to store what this stream is sent, as on a full disk. What was asked for may
    /// still have happened.
    #[error("'{what}' failed: the server does not store what stream {stream} is sent: {why}")]
    CannotStore {
        /// What was asked.
        what: &'static str,
        /// Which stream.
        stream: &'static str,
        /// In the server's words.
        why: String,
    },
    /// A stream, consumer or bucket cannot be set up as configured.
    #[error("{what} cannot be set up as configured: {cause}; {advice}")]
    Provision {
        /// What was to be set up.
        what: String,
        /// What the server said.
        #[source]
        cause: Cause,
        /// What to do about it.
        advice: String,
    },
    /// The server does not let these credentials do it.
    #[error(
        "'{what}' is not permitted: these credentials may not publish to {subject}; check which user \
         this process logs in as, and that user's permissions"
    )]
    NotPermitted {
        /// What was asked.
        what: &'static str,
        /// What the server denied.
        subject: String,
    },
    /// Something is missing that these credentials may not make.
    #[error(
        "{what} is missing, and these credentials may not create it: it must be provisioned first, with \
         credentials that may"
    )]
    MustBeProvisioned {
        /// What is missing.
        what: String,
    },
    /// The server has no queue of ours: it may be another one than was meant.
    #[error(
        "the NATS server at {address} holds no queue of spotter's: check the address; an API or a \
         worker sets the queue up when it starts"
    )]
    NotProvisioned {
        /// The server's address, without the password.
        address: String,
    },
    /// The server said no, or the connection broke.
    #[error("'{what}' failed: {cause}")]
    Failed {
        /// What was asked.
        what: &'static str,
        /// What the library or the server said.
        #[source]
        cause: Cause,
    },
    /// A stored record is none, or a record cannot be written as JSON.
    #[error("the record of task {task_id} is not as this version writes it: {cause}")]
    Record {
        /// Whose record.
        task_id: TaskId,
        /// What is wrong with it.
        #[source]
        cause: serde_json::Error,
    },
    /// Others changed the same record each time this process was about to.
    #[error("the record of task {task_id} was changed by others {attempts} times in a row")]
    Contended {
        /// Whose record.
        task_id: TaskId,
        /// How often it was tried.
        attempts: u32,
    },
}

/// What must change before asking again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A setting of this process, or what its credentials may do.
    Configuration,
    /// The settings of streams, or the servers that are to hold them: in a cluster that is still
    /// forming, waiting may help.
    Provisioning,
    /// What only other credentials may provision.
    NotProvisioned,
    /// Nothing but time: no connection, no answer, or a server that cannot do it now.
    Transient,
    /// What is stored.
    Data,
}

impl MessagingError {
    /// What kind of error this is.
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

    /// Whether a setting must be changed before trying again makes sense. A process that cannot
    /// start for this reason need not be started again.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        self.kind() == ErrorKind::Configuration
    }

    pub(crate) fn failed(what: &'static str, cause: impl Into<Cause>) -> Self {
        Self::Failed { what, cause: cause.into() }
    }
}

/// Why a job was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The queue holds as much as it may. Nothing was stored; try again later.
    #[error("the queue is full: {detail}")]
    QueueFull {
        /// Which limit, in the server's words.
        detail: String,
    },
    /// The job was not stored: no connection, or a server that cannot store now.
    #[error("the queue cannot be reached: {detail}")]
    Unavailable {
        /// What is wrong.
        detail: String,
    },
    /// The server did not confirm in time. The job may still be stored and run; submitting it again
    /// under the same id within the duplicate window is safe.
    #[error("the server did not confirm job {task_id}: it may still be run")]
    Unconfirmed {
        /// The job's id.
        task_id: TaskId,
    },
    /// The job can never be stored: without its picture it is larger than a message may be.
    #[error("the job's own data is larger than the server's max_payload of {max_payload} bytes")]
    TooLarge {
        /// The server's limit in bytes.
        max_payload: usize,
    },
}

/// Why a picture could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PictureFetchError {
    /// It is not in the object store any more. It will never come back.
    #[error("the picture of task {task_id} is gone from the object store")]
    Gone {
        /// Whose picture.
        task_id: TaskId,
    },
    /// It has more bytes than pictures may have; it will not have fewer.
    #[error("the picture of task {task_id} in the object store has more than {most} bytes")]
    TooLarge {
        /// Whose picture.
        task_id: TaskId,
        /// The most bytes that were allowed.
        most: u64,
    },
    /// It could not be read now; trying again later makes sense.
    #[error("the picture cannot be read now: {0}")]
    Transient(#[source] MessagingError),
}

/// Why a dead letter was not put back into the queue.
#[derive(Debug, thiserror::Error)]
pub enum RequeueError {
    /// The message was no job, and will be none.
    #[error("the message is no job: it can only be dropped")]
    Unreadable,
    /// There is nothing to run the job on.
    #[error("its picture is gone: it can only be dropped")]
    PictureGone,
    /// The queue did not take it.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The dead letter could not be read.
    #[error(transparent)]
    Read(#[from] MessagingError),
    /// The job is in the queue; only what comes after that failed.
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

/// What the server's JetStream API said, wherever in `error`'s chain of sources it is.
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
