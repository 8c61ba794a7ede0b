//! One of all APIs keeps queue and records together: whichever holds the lease on it.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use messaging::{Discrepancy, Findings, LEASE_TTL, Lease, Messaging, MessagingError, Reconciler};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// What the lease is called.
const LEASE: &str = "reconciler";

/// How often the lease is renewed or asked for, several times in its life, and tasks past their
/// deadline are looked for: their clients are promised a terminal state within a minute of it.
const TURN: Duration = Duration::from_secs(5);
const _: () = assert!(TURN.as_secs() * 3 <= LEASE_TTL.as_secs());

/// How many turns in a row must fail to be worth a warning.
const LASTING: u32 = 2;

/// What this API's reconciler has found, for the metrics. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Reconciliation {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_holder: bool,
    newest: Findings,
    repairs: [u64; Discrepancy::ALL.len()],
    last_round: Option<SystemTime>,
}

impl Reconciliation {
    /// Whether this API is the one that does it.
    pub(crate) fn is_holder(&self) -> bool {
        self.state.lock().is_holder
    }

    /// What the newest round has found of this kind and left; 0 where another API does it.
    pub(crate) fn open(&self, kind: Discrepancy) -> u64 {
        self.state.lock().newest.open(kind)
    }

    /// How many of this kind this API has repaired since it started.
    pub(crate) fn repairs(&self, kind: Discrepancy) -> u64 {
        self.state.lock().repairs[kind as usize]
    }

    /// When this API ended its newest round, in seconds since 1970.
    pub(crate) fn last_round(&self) -> Option<u64> {
        let since = self.state.lock().last_round?.duration_since(UNIX_EPOCH).ok()?;
        Some(since.as_secs())
    }

    fn note_holder(&self, is_holder: bool) {
        let mut state = self.state.lock();
        state.is_holder = is_holder;
        if !is_holder {
            state.newest = Findings::default();
        }
    }

    fn note_repairs(&self, findings: &Findings) {
        let mut state = self.state.lock();
        for kind in Discrepancy::ALL {
            state.repairs[kind as usize] += findings.repaired(kind);
        }
    }

    fn note_round(&self, findings: Findings) {
        let mut state = self.state.lock();
        state.newest = findings;
        state.last_round = Some(SystemTime::now());
    }
}

/// Takes turns with all other APIs until `shutdown`, and does the work while it has the lease: a
/// whole round each `every`.
pub(crate) async fn watch(
    reconciliation: Reconciliation,
    messaging: Messaging,
    every: Duration,
    shutdown: CancellationToken,
) {
    let lease = messaging.lease(LEASE);
    let mut candidate = Candidate { messaging, lease, held: None, every, reconciliation };
    let mut failures = 0;
    loop {
        let turn = async {
            let outcome = candidate.take_turn().await;
            log(outcome, &mut failures);
            tokio::time::sleep(TURN.min(every)).await;
        };
        tokio::select! {
            () = turn => {}
            // Whatever is cut off here is found again by the next holder.
            () = shutdown.cancelled() => break,
        }
    }
    candidate.resign().await;
}

/// Logs what lasts, once when it is known to and once when it is over. A cluster leaves a question
/// unanswered now and then, and the next turn is soon.
fn log(outcome: Result<(), MessagingError>, failures: &mut u32) {
    match outcome {
        Ok(()) => {
            if *failures >= LASTING {
                tracing::info!("queue and records can be compared again");
            }
            *failures = 0;
        }
        Err(error) => {
            *failures = failures.saturating_add(1);
            if *failures == LASTING {
                tracing::warn!(%error, "queue and records cannot be compared; trying again");
            } else {
                tracing::debug!(%error, "queue and records were not compared");
            }
        }
    }
}

struct Candidate {
    messaging: Messaging,
    lease: Lease,
    /// What there is only while the lease is held.
    held: Option<Held>,
    every: Duration,
    reconciliation: Reconciliation,
}

struct Held {
    reconciler: Reconciler,
    next_round: Instant,
}

impl Candidate {
    async fn take_turn(&mut self) -> Result<(), MessagingError> {
        let is_holder = self.lease.try_hold().await?;
        self.reconciliation.note_holder(is_holder);
        if !is_holder {
            // What others do to the tasks from now on is not followed.
            self.held = None;
            return Ok(());
        }
        let held = self.held.get_or_insert_with(|| {
            tracing::info!("this API compares queue and records");
            Held { reconciler: self.messaging.reconciler(), next_round: Instant::now() }
        });
        let started = Instant::now();
        let findings = if started < held.next_round {
            held.reconciler.expire_overdue().await?
        } else {
            let findings = held.reconciler.round().await?;
            held.next_round = started + self.every;
            self.reconciliation.note_round(findings);
            findings
        };
        self.reconciliation.note_repairs(&findings);
        Ok(())
    }

    /// Lets another API have the lease at once. Without a connection it has to wait for its end.
    async fn resign(self) {
        self.reconciliation.note_holder(false);
        if self.messaging.is_connected()
            && let Err(error) = self.lease.release().await
        {
            tracing::debug!(%error, "the reconciler's lease is left to expire");
        }
    }
}
