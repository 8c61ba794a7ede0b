//! Probes whether the server stores a stream's messages, at little cost.

use std::{future::IntoFuture, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{self, message::PublishMessage, stream::PurgeErrorKind},
};
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::{
    Messaging,
    refusal::Refusal,
    write_faults::{self, ProbeKind, Target, Verdict},
};
use crate::error::api_error;

/// The interval between probes while no fault is known.
const PROBE_EVERY: Duration = Duration::from_secs(15);

/// The interval between probes during a fault.
const PROBE_AGAIN: Duration = Duration::from_secs(1);

/// How long a probe waits for its answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The reason where a server does not answer a marker.
const NO_ANSWER: &str = "writes go unanswered, as they do after the server's disk was full";

impl Messaging {
    /// Probes the streams that this role writes to: every 15 s while no fault is known, soon after a request has
    /// gone unanswered, and every second during a fault. Never returns.
    pub async fn watch_writes(&self) {
        let writes = self.writes().clone();
        let targets = writes.targets();
        let mut unanswered = vec![0; targets.len()];
        loop {
            // Without a connection a probe says nothing; the last verdicts stay.
            if self.is_connected() {
                let verdicts = join_all(targets.iter().map(|target| target.probe(self))).await;
                let noted = targets.iter().zip(&mut unanswered).zip(verdicts);
                for ((target, unanswered), verdict) in noted {
                    writes.note(target.stream, unanswered, verdict);
                }
            }
            let is_well = writes.fault().is_none() && unanswered.iter().all(|count| *count == 0);
            if is_well && self.is_connected() {
                tokio::select! {
                    () = sleep(PROBE_EVERY) => {}
                    () = writes.suspected() => {}
                }
            } else {
                sleep(PROBE_AGAIN).await;
            }
        }
    }

    /// The first of all streams that keeps a write error, and the server's description of it; `None` if none
    /// does. Writes nothing itself.
    pub async fn find_write_error(&self) -> Option<(&'static str, String)> {
        let targets = write_faults::all();
        let verdicts = join_all(targets.iter().map(|target| target.probe(self))).await;
        targets.iter().zip(verdicts).find_map(|(target, verdict)| match verdict {
            Verdict::Fails(why) => Some((target.stream, why)),
            _ => None,
        })
    }
}

impl Target {
    async fn probe(&self, messaging: &Messaging) -> Verdict {
        let asked = async {
            match self.kind {
                ProbeKind::EmptyPurge => self.purge(messaging).await,
                ProbeKind::Marker => self.mark(messaging).await,
            }
        };
        let denied = messaging.denials().of(match self.kind {
            ProbeKind::EmptyPurge => format!("$JS.API.STREAM.PURGE.{}", self.stream),
            ProbeKind::Marker => self.subject.clone(),
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

/// How a server refuses a purge of a stream that keeps a write error.
const WRITE_ERROR: [Refusal; 1] = [Refusal::WriteError];

/// How a server without room refuses a record.
const NO_ROOM: [Refusal; 3] = [Refusal::StreamFull, Refusal::ServerFull, Refusal::AccountFull];

/// Only `failures` mean that the server does not store. Other errors may be temporary, as while a cluster has
/// no leader.
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
/// paths are not exposed.
fn reason(said: &str) -> &str {
    let description = said.rsplit_once(" (code ").map_or(said, |(description, _)| description);
    description.rsplit(": ").next().unwrap_or(description)
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
}
