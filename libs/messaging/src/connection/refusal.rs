//! What the server's refusals mean. The only file that knows its error codes.

use std::error::Error;

use async_nats::jetstream::{
    self, ErrorCode,
    context::{PublishError, PublishErrorKind},
};

use crate::{Messaging, SubmitError, error::api_error};

/// Why the server's JetStream API refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The stream holds as many messages or bytes as it may, or a message cannot be stored in it.
    StreamFull,
    /// The server has no room for more.
    ServerFull,
    /// The account has no room for more.
    AccountFull,
    /// Another write came first. A cluster has a second code for this, for a write that is being
    /// replicated.
    Overtaken,
    /// The stream is in error since an earlier write.
    WriteError,
    /// An operator has forbidden purges of the stream.
    PurgeForbidden,
    /// There are fewer servers than replicas.
    TooFewServers,
    /// JetStream is not enabled on the server or for the account.
    NoJetStream,
    /// There is no such stream.
    NoStream,
    /// There is no such consumer.
    NoConsumer,
    /// Another consumer of the work queue has some of the same subjects.
    FiltersOverlap,
    /// Anything else.
    Other,
}

impl Refusal {
    pub(crate) fn of(error: &jetstream::Error) -> Self {
        match error.error_code() {
            ErrorCode::STREAM_STORE_FAILED => Self::StreamFull,
            ErrorCode::STORAGE_RESOURCES_EXCEEDED | ErrorCode::INSUFFICIENT_RESOURCES => {
                Self::ServerFull
            }
            ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => Self::AccountFull,
            ErrorCode::STREAM_WRONG_LAST_SEQUENCE
            | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => Self::Overtaken,
            ErrorCode::STREAM_GENERALOR => Self::WriteError,
            ErrorCode::STREAM_PURGE_FAILED => Self::PurgeForbidden,
            ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED | ErrorCode::CLUSTER_NO_PEERS => {
                Self::TooFewServers
            }
            ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                Self::NoJetStream
            }
            ErrorCode::STREAM_NOT_FOUND => Self::NoStream,
            ErrorCode::CONSUMER_NOT_FOUND => Self::NoConsumer,
            ErrorCode::CONSUMER_WQ_CONSUMER_NOT_UNIQUE => Self::FiltersOverlap,
            _ => Self::Other,
        }
    }

    /// The refusal in `error`'s chain of sources; `None` for an error of another kind.
    pub(crate) fn in_chain(error: &(dyn Error + 'static)) -> Option<Self> {
        api_error(error).map(Self::of)
    }
}

/// Whether a write was refused because another one came first.
pub(crate) fn is_overtaken(error: &(dyn Error + 'static)) -> bool {
    Refusal::in_chain(error) == Some(Refusal::Overtaken)
}

/// Why a message was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PublishFailure {
    /// There was no answer: it may be stored.
    Unanswered,
    /// It is larger than the server's `max_payload`.
    TooLarge,
    /// No server holds a stream for it at the moment.
    NoStream,
    /// The server has refused it.
    Refused(Refusal),
    /// The client library has not sent it, or does not understand the answer.
    Failed,
}

impl PublishFailure {
    pub(crate) fn of(error: &PublishError) -> Self {
        match error.kind() {
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Self::Unanswered,
            PublishErrorKind::MaxPayloadExceeded => Self::TooLarge,
            PublishErrorKind::StreamNotFound => Self::NoStream,
            PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId => {
                Self::Refused(Refusal::Overtaken)
            }
            PublishErrorKind::MaxAckPending | PublishErrorKind::Other => {
                Refusal::in_chain(error).map_or(Self::Failed, Self::Refused)
            }
        }
    }
}

/// What became of a message that the client library reports as not published.
pub(crate) enum NotPublished {
    /// It may be stored, or may still be when the connection comes back.
    Unknown,
    /// It is not stored, and its job is refused for this reason.
    Refused(SubmitError),
}

impl Messaging {
    /// What a failed publish of a job or of its picture means to the client. Requests a probe of the
    /// streams where a fault of the server may be the cause.
    pub(crate) fn not_published(&self, error: &PublishError) -> NotPublished {
        let unavailable = || SubmitError::Unavailable { detail: error.to_string() };
        let refused = match PublishFailure::of(error) {
            PublishFailure::Unanswered => return NotPublished::Unknown,
            PublishFailure::TooLarge => {
                SubmitError::TooLarge { max_payload: self.client().max_payload() }
            }
            PublishFailure::NoStream => {
                self.writes().suspect();
                let detail = "no server holds the stream right now".to_owned();
                SubmitError::Unavailable { detail }
            }
            PublishFailure::Failed => unavailable(),
            PublishFailure::Refused(refusal) => {
                // A full queue leaves room for records; a full server does not.
                if refusal != Refusal::StreamFull {
                    self.writes().suspect();
                }
                let detail =
                    api_error(error).map_or_else(|| error.to_string(), ToString::to_string);
                match refusal {
                    Refusal::StreamFull | Refusal::ServerFull | Refusal::AccountFull => {
                        SubmitError::QueueFull { detail }
                    }
                    Refusal::Overtaken
                    | Refusal::WriteError
                    | Refusal::PurgeForbidden
                    | Refusal::TooFewServers
                    | Refusal::NoJetStream
                    | Refusal::NoStream
                    | Refusal::NoConsumer
                    | Refusal::FiltersOverlap
                    | Refusal::Other => SubmitError::Unavailable { detail },
                }
            }
        };
        NotPublished::Refused(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_found_wherever_it_is_in_the_chain() {
        let cases = [
            (10_077, Refusal::StreamFull),
            (10_047, Refusal::ServerFull),
            (10_023, Refusal::ServerFull),
            (10_002, Refusal::AccountFull),
            (10_071, Refusal::Overtaken),
            (10_164, Refusal::Overtaken),
            (10_008, Refusal::Other),
        ];
        for (code, expected) in cases {
            let json = format!(r#"{{"code": 503, "err_code": {code}, "description": "x"}}"#);
            let api = serde_json::from_str::<jetstream::Error>(&json).unwrap();
            let error = PublishError::with_source(PublishErrorKind::Other, api);
            assert_eq!(PublishFailure::of(&error), PublishFailure::Refused(expected), "{code}");
            assert_eq!(is_overtaken(&error), expected == Refusal::Overtaken, "{code}");
        }
        let unanswered = PublishError::new(PublishErrorKind::TimedOut);
        assert_eq!(PublishFailure::of(&unanswered), PublishFailure::Unanswered);
        let unsent = PublishError::new(PublishErrorKind::Other);
        assert_eq!(PublishFailure::of(&unsent), PublishFailure::Failed);
    }
}
