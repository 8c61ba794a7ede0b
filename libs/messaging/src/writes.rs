//! Whether the server stores what it is sent, stream by stream.
//!
//! A NATS server whose write to a stream's files has failed, as on a full disk, keeps that error until it is
//! restarted, also when there is room again. Meanwhile it is connected, answers reads, and gives a publish to
//! that stream no answer at all. So a timeout raises a suspicion, and a probe asks the server: its answer tells a
//! failed store from a full queue, which is answered as such, and from one lost message.

mod probe;

use std::{collections::BTreeMap, future::pending, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};

use self::probe::{Target, Verdict};
use crate::{Messaging, MessagingError, Role};

/// How long a question may go unanswered before it raises a suspicion.
pub(crate) const SUSPICIOUS_AFTER: Duration = Duration::from_secs(1);

/// How often streams are probed while all is well, as where nobody writes.
const PROBE_EVERY: Duration = Duration::from_secs(15);

/// How often they are probed while something is wrong.
const PROBE_AGAIN: Duration = Duration::from_secs(1);

/// How many probes in a row must go unanswered until writes count as failing. An election in a cluster and a
/// slow disk cost one or two.
const UNANSWERED_PROBES: u32 = 3;

/// What this process knows of whether the server stores what it sends. Cheap to clone.
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
            targets: probe::targets(role),
            faults: watch::channel(BTreeMap::new()).0,
            suspicion: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Each stream that this process needs, and whether it stores messages as far as is known.
    #[must_use]
    pub fn writable(&self) -> Vec<(&'static str, bool)> {
        let faults = self.shared.faults.borrow();
        let streams = self.shared.targets.iter().map(|target| target.stream);
        streams.map(|stream| (stream, !faults.contains_key(stream))).collect()
    }

    /// What is known to fail, for people; `None` while all is well.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let faults = self.shared.faults.borrow();
        let (_, why) = faults.first_key_value()?;
        let streams: Vec<_> = faults.keys().copied().collect();
        Some(format!("NATS does not store messages (stream {}): {why}", streams.join(", ")))
    }

    /// Completes once nothing is known to fail, at once where that is so already.
    pub async fn wait_until_well(&self) {
        let mut faults = self.shared.faults.subscribe();
        // It fails only when all is dropped, and then nothing is known to fail.
        let _ = faults.wait_for(BTreeMap::is_empty).await;
    }

    /// Asks for a probe of all streams now.
    pub(crate) fn suspect(&self) {
        self.shared.suspicion.notify_one();
    }

    /// Completes with the reason once `stream` is known to fail, at once where it is already.
    pub(crate) async fn failed(&self, stream: &str) -> String {
        let mut faults = self.shared.faults.subscribe();
        let failed = faults.wait_for(|faults| faults.contains_key(stream)).await;
        match failed.ok().and_then(|faults| faults.get(stream).cloned()) {
            Some(why) => why,
            // Nobody will say so any more.
            None => pending().await,
        }
    }

    /// Takes a verdict over; `unanswered` counts those in a row of this stream. Logs only what has changed.
    fn note(&self, stream: &'static str, unanswered: &mut u32, verdict: Verdict) {
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

impl Messaging {
    /// Probes whether the streams that this role writes to are stored: rarely while all is well, soon after a
    /// question has gone unanswered, and every second until a fault is over. Never returns.
    pub async fn watch_writes(&self) {
        let writes = self.writes().clone();
        let targets = &writes.shared.targets;
        let mut unanswered = vec![0; targets.len()];
        loop {
            // Without a connection nothing can be told; what was known before still holds.
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
                    () = writes.shared.suspicion.notified() => {}
                }
            } else {
                sleep(PROBE_AGAIN).await;
            }
        }
    }

    /// A stream that the server cannot write any more, of all that there are, in the server's words; `None`
    /// where it has not failed to write any. Writes nothing itself.
    pub async fn find_write_error(&self) -> Option<(&'static str, String)> {
        let targets = probe::all();
        let verdicts = join_all(targets.iter().map(|target| target.probe(self))).await;
        targets.iter().zip(verdicts).find_map(|(target, verdict)| match verdict {
            Verdict::Fails(why) => Some((target.stream, why)),
            _ => None,
        })
    }

    /// Runs a write to `stream` under the configured timeout. It is not tried, or is given up, when the stream
    /// is known to fail: there would be no answer.
    ///
    /// # Errors
    /// [`MessagingError::CannotStore`] besides [`MessagingError::Timeout`].
    pub(crate) async fn within_write<T>(
        &self,
        what: &'static str,
        stream: &'static str,
        write: impl Future<Output = T>,
    ) -> Result<T, MessagingError> {
        tokio::select! {
            biased;
            why = self.writes().failed(stream) => Err(MessagingError::CannotStore { what, stream, why }),
            answer = self.within_timeout(what, write) => answer,
        }
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
        assert_eq!(writes.fault(), None, "they were not in a row");

        writes.note("JOBS", &mut count, Verdict::Fails("no space left on device".to_owned()));
        let fault = writes.fault().unwrap();
        assert!(fault.contains("JOBS") && fault.contains("no space left"), "{fault}");
        // One answer that is lost is no recovery either.
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
}
