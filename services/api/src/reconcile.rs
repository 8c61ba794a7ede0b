//! The reconciler: the API that holds its lease compares queue and records, and repairs discrepancies.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use messaging::{Discrepancy, Findings, LEASE_TTL, Lease, Messaging, MessagingError, Reconciler};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The name of the lease.
const LEASE: &str = "reconciler";

/// The interval at which the lease is renewed or requested, several times per TTL, and overdue tasks are
/// expired: clients are promised a terminal state within a minute of the deadline.
const TURN: Duration = Duration::from_secs(5);
const _: () = assert!(TURN.as_secs() * 3 <= LEASE_TTL.as_secs());

/// How many failed turns in a row are logged as a warning.
const LASTING: u32 = 2;

/// The findings of this API's reconciler, for the metrics. Cheap to clone.
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
    /// Whether this API holds the lease.
    pub(crate) fn is_holder(&self) -> bool {
        self.state.lock().is_holder
    }

    /// How many discrepancies of this kind the newest round has left; 0 if another API holds the lease.
    pub(crate) fn open(&self, kind: Discrepancy) -> u64 {
        self.state.lock().newest.open(kind)
    }

    /// How many discrepancies of this kind this API has repaired since its start.
    pub(crate) fn repairs(&self, kind: Discrepancy) -> u64 {
        self.state.lock().repairs[kind as usize]
    }

    /// When this API finished its newest round, in seconds since 1970.
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

/// Competes with the other APIs for the lease until `shutdown`, and reconciles while it holds it: a full
/// round each `every`.
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
            // The next holder finds what is interrupted here.
            () = shutdown.cancelled() => break,
        }
    }
    candidate.resign().await;
}

/// Logs lasting failures, once at the start and once at the end. In a cluster, single requests time out now
/// and then, and the next turn is soon.
fn log(outcome: Result<(), MessagingError>, failures: &mut u32) {
    match outcome {
        Ok(()) => {
            if *failures >= LASTING {
                tracing::info!("the reconciler works again");
            }
            *failures = 0;
        }
        Err(error) => {
            *failures = failures.saturating_add(1);
            if *failures == LASTING {
                tracing::warn!(%error, "the reconciler fails; retrying");
            } else {
                tracing::debug!(%error, "the reconciler has failed");
            }
        }
    }
}

struct Candidate {
    messaging: Messaging,
    lease: Lease,
    /// The state while the lease is held.
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
            // The state would become outdated while others reconcile.
            self.held = None;
            return Ok(());
        }
        let held = self.held.get_or_insert_with(|| {
            tracing::info!("this API is the reconciler");
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

    /// Releases the lease for another API. Without a connection, the lease expires.
    async fn resign(self) {
        self.reconciliation.note_holder(false);
        if self.messaging.is_connected()
            && let Err(error) = self.lease.release().await
        {
            tracing::debug!(%error, "cannot release the reconciler's lease; it will expire");
        }
    }
}
