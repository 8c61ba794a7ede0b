//! Whether the server stores messages, stream by stream.
//!
//! A NATS server whose write to a stream's files has failed, as on a full disk, keeps that error until it is
//! restarted, even when there is room again. Meanwhile it accepts connections and answers reads, and does not
//! answer a publish to that stream. So a timeout requests a probe, and the answer to the probe distinguishes a
//! failed store from a full queue, which the server reports as such, and from one lost message.

use std::{collections::BTreeMap, future::pending, sync::Arc, time::Duration};

use tokio::sync::{Notify, watch};

use crate::{
    Role,
    provision::names::{
        DEAD_LETTER_STREAM, DEAD_LETTER_SUBJECT, DEAD_PICTURE_STREAM, DEAD_PICTURE_SUBJECT,
        DEAD_WEBHOOK_STREAM, DEAD_WEBHOOK_SUBJECT, DRAWING_STREAM, DRAWING_SUBJECT,
        HEARTBEAT_STREAM, IDEMPOTENCY_STREAM, JOBS_STREAM, JOBS_SUBJECT, LEASE_STREAM,
        PICTURE_STORE, PICTURE_STREAM, TASK_STREAM, WEBHOOK_STREAM, WEBHOOK_SUBJECT,
    },
};

/// How long a request may go unanswered before it requests a probe.
pub(crate) const SUSPICIOUS_AFTER: Duration = Duration::from_secs(1);

/// The last token of a subject that no message has.
const NO_MESSAGE: &str = "no-message";

/// The key of a bucket's marker.
const MARKER: &str = "write-probe";

/// How many probes in a row must go unanswered before writes count as failing. A leader election and a slow
/// disk cost one or two.
const UNANSWERED_PROBES: u32 = 3;

/// Which streams the server fails to store, as far as this process knows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Writes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    targets: Vec<Target>,
    /// The streams that fail, and why.
    faults: watch::Sender<BTreeMap<&'static str, String>>,
    suspicion: Notify,
}

impl Writes {
    pub(crate) fn of(role: Role) -> Self {
        let shared = Shared {
            targets: targets(role),
            faults: watch::channel(BTreeMap::new()).0,
            suspicion: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Each stream that this process writes to, and whether it is known to fail.
    #[must_use]
    pub fn writable(&self) -> Vec<(&'static str, bool)> {
        let faults = self.shared.faults.borrow();
        let streams = self.shared.targets.iter().map(|target| target.stream);
        streams.map(|stream| (stream, !faults.contains_key(stream))).collect()
    }

    /// The known faults, as a text for operators; `None` without any.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let faults = self.shared.faults.borrow();
        let (_, why) = faults.first_key_value()?;
        let streams: Vec<_> = faults.keys().copied().collect();
        Some(format!("NATS does not store messages (stream {}): {why}", streams.join(", ")))
    }

    /// Completes once no fault is known.
    pub async fn wait_until_well(&self) {
        let mut faults = self.shared.faults.subscribe();
        // It fails only when the sender is dropped, and then no fault is known.
        let _ = faults.wait_for(BTreeMap::is_empty).await;
    }

    /// The streams that this process writes to.
    pub(super) fn targets(&self) -> &[Target] {
        &self.shared.targets
    }

    /// Completes when a probe is requested.
    pub(super) async fn suspected(&self) {
        self.shared.suspicion.notified().await;
    }

    /// Requests a probe of all streams.
    pub(crate) fn suspect(&self) {
        self.shared.suspicion.notify_one();
    }

    /// Completes with the reason once `stream` is known to fail.
    pub(crate) async fn failed(&self, stream: &str) -> String {
        let mut faults = self.shared.faults.subscribe();
        let failed = faults.wait_for(|faults| faults.contains_key(stream)).await;
        match failed.ok().and_then(|faults| faults.get(stream).cloned()) {
            Some(why) => why,
            // The sender is dropped: no fault will be reported.
            None => pending().await,
        }
    }

    /// Records a verdict; `unanswered` counts the unanswered probes of this stream in a row. Logs changes only.
    pub(super) fn note(&self, stream: &'static str, unanswered: &mut u32, verdict: Verdict) {
        *unanswered = match &verdict {
            Verdict::Unanswered(_) => unanswered.saturating_add(1),
            _ => 0,
        };
        let fault = match verdict {
            Verdict::Unanswered(_) if *unanswered < UNANSWERED_PROBES => return,
            Verdict::Unanswered(why) | Verdict::Fails(why) => Some(why),
            Verdict::Stores | Verdict::NotPermitted => None,
        };
        self.shared.faults.send_if_modified(|faults| {
            let before = faults.get(stream).cloned();
            match (&before, &fault) {
                (None, Some(why)) => tracing::error!(stream, why, "NATS does not store messages"),
                (Some(_), None) => tracing::info!(stream, "NATS stores messages again"),
                _ => {}
            }
            let is_changed = before != fault;
            match fault {
                Some(why) => faults.insert(stream, why),
                None => faults.remove(stream),
            };
            is_changed
        });
    }
}

/// A stream, and how it is probed.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) stream: &'static str,
    pub(super) subject: String,
    pub(super) kind: ProbeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeKind {
    /// A purge of a subject that no message has. It changes nothing, and a server that keeps a write error of
    /// the stream answers with that error. It does not detect a full disk before a write has failed.
    EmptyPurge,
    /// A deletion marker for a key that is not used: a write like any other, and a bucket keeps one of them.
    Marker,
}

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Stores,
    /// The server reports that it does not store, and why.
    Fails(String),
    Unanswered(String),
    /// These credentials may not probe the stream.
    NotPermitted,
}

/// The streams that a role cannot do without, each probed by a request that the role's permissions allow
/// anyway.
pub(super) fn targets(role: Role) -> Vec<Target> {
    match role {
        Role::Api => vec![
            Target::purged(JOBS_STREAM),
            Target::purged(PICTURE_STREAM),
            Target::marked(TASK_STREAM),
            Target::marked(IDEMPOTENCY_STREAM),
        ],
        Role::Worker => vec![Target::marked(TASK_STREAM)],
        Role::Notifier | Role::Setup | Role::Cli => Vec::new(),
    }
}

/// All streams, probed without a write.
pub(super) fn all() -> [Target; 11] {
    [
        JOBS_STREAM,
        PICTURE_STREAM,
        TASK_STREAM,
        IDEMPOTENCY_STREAM,
        LEASE_STREAM,
        HEARTBEAT_STREAM,
        DEAD_LETTER_STREAM,
        DEAD_PICTURE_STREAM,
        DRAWING_STREAM,
        WEBHOOK_STREAM,
        DEAD_WEBHOOK_STREAM,
    ]
    .map(Target::purged)
}

impl Target {
    fn purged(stream: &'static str) -> Self {
        Self { stream, subject: subject(stream, NO_MESSAGE), kind: ProbeKind::EmptyPurge }
    }

    fn marked(stream: &'static str) -> Self {
        Self { stream, subject: subject(stream, MARKER), kind: ProbeKind::Marker }
    }
}

/// A subject of the stream that ends with `token`.
fn subject(stream: &str, token: &str) -> String {
    match stream {
        JOBS_STREAM => format!("{JOBS_SUBJECT}.-.{token}"),
        PICTURE_STREAM => format!("$O.{PICTURE_STORE}.C.{token}"),
        DEAD_LETTER_STREAM => format!("{DEAD_LETTER_SUBJECT}.{token}"),
        DEAD_PICTURE_STREAM => format!("{DEAD_PICTURE_SUBJECT}.-.{token}"),
        DRAWING_STREAM => format!("{DRAWING_SUBJECT}.-.-.{token}"),
        WEBHOOK_STREAM => format!("{WEBHOOK_SUBJECT}.{token}"),
        DEAD_WEBHOOK_STREAM => format!("{DEAD_WEBHOOK_SUBJECT}.{token}"),
        bucket => format!("$KV.{}.{token}", bucket.trim_start_matches("KV_")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unanswered() -> Verdict {
        Verdict::Unanswered("no answer".to_owned())
    }

    #[test]
    fn one_lost_answer_is_no_fault_and_the_servers_word_is_one() {
        let writes = Writes::of(Role::Api);
        let mut count = 0;
        for _ in 1..UNANSWERED_PROBES {
            writes.note("JOBS", &mut count, unanswered());
            assert_eq!(writes.fault(), None);
        }
        writes.note("JOBS", &mut count, Verdict::Stores);
        writes.note("JOBS", &mut count, unanswered());
        assert_eq!(writes.fault(), None, "not in a row");

        writes.note("JOBS", &mut count, Verdict::Fails("no space left on device".to_owned()));
        let fault = writes.fault().unwrap();
        assert!(fault.contains("JOBS") && fault.contains("no space left"), "{fault}");
        // One lost answer is not a recovery.
        writes.note("JOBS", &mut count, unanswered());
        assert!(writes.fault().is_some());
        writes.note("JOBS", &mut count, Verdict::Stores);
        assert_eq!(writes.fault(), None);
    }

    #[test]
    fn a_server_that_never_answers_is_a_fault() {
        let writes = Writes::of(Role::Worker);
        let mut count = 0;
        for _ in 0..UNANSWERED_PROBES {
            writes.note("KV_tasks", &mut count, unanswered());
        }
        assert_eq!(writes.writable(), [("KV_tasks", false)]);
    }

    #[test]
    fn what_may_not_be_asked_is_no_fault() {
        let writes = Writes::of(Role::Worker);
        let mut count = 0;
        for _ in 0..=UNANSWERED_PROBES {
            writes.note("KV_tasks", &mut count, Verdict::NotPermitted);
        }
        assert_eq!(writes.fault(), None);
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
            "drawings.-.-.no-message",
            "webhooks.no-message",
            "webhooks_dlq.no-message",
        ];
        assert_eq!(subjects, expected);
    }
}
