//! Everything that one connection gives access to.

use crate::{
    DeadLetters, Heartbeats, IdempotencyKeys, JobQueue, Lease, Messaging, Reconciler, TaskStore,
};

impl Messaging {
    /// The queue of jobs.
    #[must_use]
    pub fn queue(&self) -> JobQueue {
        JobQueue::new(self.clone())
    }

    /// The records of tasks.
    #[must_use]
    pub fn tasks(&self) -> TaskStore {
        TaskStore::new(self.clone())
    }

    /// The idempotency keys that clients have used.
    #[must_use]
    pub fn idempotency_keys(&self) -> IdempotencyKeys {
        IdempotencyKeys::new(self.clone())
    }

    /// The messages that were given up.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.clone())
    }

    /// What the workers say of the models they run.
    #[must_use]
    pub fn heartbeats(&self) -> Heartbeats {
        Heartbeats::new(self.clone())
    }

    /// The lease on the work called `name` (letters, digits, `-`, `_`). Nobody holds it yet.
    #[must_use]
    pub fn lease(&self, name: &'static str) -> Lease {
        Lease::new(self.clone(), name)
    }

    /// Compares queue and records. It has seen nothing yet.
    #[must_use]
    pub fn reconciler(&self) -> Reconciler {
        Reconciler::new(self.clone())
    }
}
