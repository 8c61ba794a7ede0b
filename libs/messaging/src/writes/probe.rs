//! Asking the server whether it stores a stream's messages, at little cost.

use std::{future::IntoFuture, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{self, message::PublishMessage, stream::PurgeErrorKind},
};
use tokio::time::timeout;

use crate::{
    Messaging, Role,
    error::api_error,
    layout::{
        ANNOUNCEMENT_STREAM, DEAD_LETTER_STREAM, DEAD_LETTER_SUBJECT, DEAD_PICTURE_STREAM,
        DEAD_PICTURE_SUBJECT, IDEMPOTENCY_STREAM, JOBS_STREAM, JOBS_SUBJECT, LEASE_STREAM,
        PICTURE_STORE, PICTURE_STREAM, TASK_STREAM,
    },
    refusal::Refusal,
};

/// How long a probe waits for its answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The last token of the subject that no message has.
const NO_MESSAGE: &str = "no-message";

/// The key of a bucket's marker.
const MARKER: &str = "write-probe";

/// All that can be said of a marker for which a server has no room.
const NO_ANSWER: &str = "writes go unanswered, as they do after the server's disk was full";

/// A stream, and how to find out whether it stores.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) stream: &'static str,
    subject: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A purge of a subject that no message has. It changes nothing, and a server that keeps a write error of
    /// the stream answers with that. A disk that is full and that nobody has written to is not seen.
    EmptyPurge,
    /// A deletion marker for a key that nobody uses: a write like any other, of which a bucket keeps one.
    Marker,
}

/// What a probe has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Stores,
    /// The server's own word that it does not, and why.
    Fails(String),
    Unanswered(String),
    /// It may not be asked.
    NotPermitted,
}

/// The streams that a role watches: those without which it can do nothing, each in a way that the role's
/// permissions have a line for anyway.
pub(super) fn targets(role: Role) -> Vec<Target> {
    match role {
        Role::Api => vec![
            Target::purged(JOBS_STREAM),
            Target::purged(PICTURE_STREAM),
            Target::marked(TASK_STREAM),
            Target::marked(IDEMPOTENCY_STREAM),
        ],
        Role::Worker => vec![Target::marked(TASK_STREAM)],
        Role::Setup | Role::Cli => Vec::new(),
    }
}

/// All streams, probed without a write.
pub(super) fn all() -> [Target; 8] {
    [
        JOBS_STREAM,
        PICTURE_STREAM,
        TASK_STREAM,
        IDEMPOTENCY_STREAM,
        LEASE_STREAM,
        ANNOUNCEMENT_STREAM,
        DEAD_LETTER_STREAM,
        DEAD_PICTURE_STREAM,
    ]
    .map(Target::purged)
}

impl Target {
    fn purged(stream: &'static str) -> Self {
        Self { stream, subject: subject(stream, NO_MESSAGE), kind: Kind::EmptyPurge }
    }

    fn marked(stream: &'static str) -> Self {
        Self { stream, subject: subject(stream, MARKER), kind: Kind::Marker }
    }

    pub(super) async fn probe(&self, messaging: &Messaging) -> Verdict {
        let asked = async {
            match self.kind {
                Kind::EmptyPurge => self.purge(messaging).await,
                Kind::Marker => self.mark(messaging).await,
            }
        };
        let denied = messaging.denials().of(match self.kind {
            Kind::EmptyPurge => format!("$JS.API.STREAM.PURGE.{}", self.stream),
            Kind::Marker => self.subject.clone(),
        });
        tokio::select! {
            verdict = timeout(PROBE_TIMEOUT, asked) => {
                let unanswered = || Verdict::Unanswered(NO_ANSWER.to_owned());
                verdict.unwrap_or_else(|_| unanswered())
            }
            () = denied => Verdict::NotPermitted,
        }
    }

    async fn purge(&self, messaging: &Messaging) -> Verdict {
        let stream = match messaging.jetstream().get_stream_no_info(self.stream).await {
            Ok(stream) => stream,
            Err(error) => return Verdict::Unanswered(error.to_string()),
        };
        match stream.purge().filter(&self.subject).into_future().await {
            Ok(_) => Verdict::Stores,
            Err(error) => match error.kind() {
                PurgeErrorKind::JetStream(api) => refused(&api, &WRITE_ERROR),
                _ => Verdict::Unanswered(error.to_string()),
            },
        }
    }

    async fn mark(&self, messaging: &Messaging) -> Verdict {
        let mut headers = HeaderMap::new();
        headers.insert("KV-Operation", "DEL");
        let message = PublishMessage::build().headers(headers);
        let stored = async {
            messaging.jetstream().send_publish(self.subject.clone(), message).await?.await
        };
        match stored.await {
            Ok(_) => Verdict::Stores,
            Err(error) => match api_error(&error) {
                Some(api) => refused(api, &NO_ROOM),
                None => Verdict::Unanswered(error.to_string()),
            },
        }
    }
}

/// What a server answers to a purge that keeps a write error of the stream.
const WRITE_ERROR: [Refusal; 1] = [Refusal::WriteError];

/// What a server answers that has no room for a record.
const NO_ROOM: [Refusal; 3] = [Refusal::StreamFull, Refusal::ServerFull, Refusal::AccountFull];

/// Of the server's errors, only `failures` say that it does not store. Others may be those of the moment, as
/// while a cluster has no leader.
fn refused(error: &jetstream::Error, failures: &[Refusal]) -> Verdict {
    match Refusal::of(error) {
        refusal if failures.contains(&refusal) => {
            Verdict::Fails(reason(&error.to_string()).to_owned())
        }
        Refusal::PurgeForbidden => Verdict::NotPermitted,
        _ => Verdict::Unanswered(error.to_string()),
    }
}

/// `no space left on device` of `write /data/…/1.blk: no space left on device (code 500, …)`: the server's
/// folders are nobody else's business.
fn reason(said: &str) -> &str {
    let description = said.rsplit_once(" (code ").map_or(said, |(description, _)| description);
    description.rsplit(": ").next().unwrap_or(description)
}

/// A subject of the stream that ends with `token`.
fn subject(stream: &str, token: &str) -> String {
    match stream {
        JOBS_STREAM => format!("{JOBS_SUBJECT}.-.{token}"),
        PICTURE_STREAM => format!("$O.{PICTURE_STORE}.C.{token}"),
        DEAD_LETTER_STREAM => format!("{DEAD_LETTER_SUBJECT}.{token}"),
        DEAD_PICTURE_STREAM => format!("{DEAD_PICTURE_SUBJECT}.-.{token}"),
        bucket => format!("$KV.{}.{token}", bucket.trim_start_matches("KV_")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_no_folder() {
        let cases = [
            (
                "write /data/jetstream/$G/streams/JOBS/msgs/1.blk: no space left on device \
                 (code 500, error code 10051)",
                "no space left on device",
            ),
            ("insufficient resources (code 503, error code 10023)", "insufficient resources"),
            ("read-only", "read-only"),
        ];
        for (description, expected) in cases {
            assert_eq!(reason(description), expected);
        }
    }

    #[test]
    fn only_what_says_so_is_a_server_that_does_not_store() {
        let error = |code: u64| {
            let json = format!(r#"{{"code": 503, "err_code": {code}, "description": "x: y"}}"#);
            serde_json::from_str::<jetstream::Error>(&json).unwrap()
        };
        let fails = Verdict::Fails("y".to_owned());
        assert_eq!(refused(&error(10_051), &WRITE_ERROR), fails);
        // A server whose limit is used up, a bucket whose limit is.
        assert_eq!(refused(&error(10_023), &NO_ROOM), fails);
        assert_eq!(refused(&error(10_077), &NO_ROOM), fails);
        assert_eq!(refused(&error(10_110), &WRITE_ERROR), Verdict::NotPermitted);
        // A cluster without a leader.
        assert!(matches!(refused(&error(10_008), &NO_ROOM), Verdict::Unanswered(_)));
    }

    #[test]
    fn probes_stay_within_their_streams() {
        let subjects: Vec<_> = all().map(|target| target.subject).into();
        let expected = [
            "jobs.-.no-message",
            "$O.pictures.C.no-message",
            "$KV.tasks.no-message",
            "$KV.idempotency.no-message",
            "$KV.leases.no-message",
            "$KV.models.no-message",
            "dlq.no-message",
            "dlq_pictures.-.no-message",
        ];
        assert_eq!(subjects, expected);
    }
}
