//! Which jobs run beside others.

use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};

use crate::{context::Context, cores::Parallelism, load::CountedJob};

/// Whether other jobs run beside a job in this process.
///
/// A picture that crashes its worker interrupts the jobs in the other slots. NATS redelivers all of them
/// at the same time, most likely to the same worker, where they would crash it together until all fail as
/// poison. So a job with an earlier run that failed or did not end runs alone: a crash then is due to that job.
/// The record counts these runs, except for a first one that ended its worker within a second: that one counts if
/// the first delivery left no trace. Otherwise the count of deliveries does not serve: it rises when a worker that
/// stops releases a job that it has not run, and is reset with a new consumer.
pub(super) enum Isolation<'a> {
    Shared {
        _running: RwLockReadGuard<'a, ()>,
    },
    /// With all slots for itself, so that no shadow run crashes the process beside it.
    Exclusive {
        _running: RwLockWriteGuard<'a, ()>,
        _all_slots: CountedJob,
    },
}

impl<'a> Isolation<'a> {
    /// Waits until the job may run. New jobs do not overtake one that waits for exclusive isolation.
    pub(super) async fn acquire(context: &'a Context, earlier_runs: u32) -> Self {
        // At the limit, the job fails as poison and is not run.
        if (1..context.max_attempts).contains(&earlier_runs) {
            let all_slots = context.load.count(Parallelism::AllCores);
            Self::Exclusive { _running: context.isolation.write().await, _all_slots: all_slots }
        } else {
            Self::Shared { _running: context.isolation.read().await }
        }
    }
}
