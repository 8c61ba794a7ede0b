//! What a connection gives access to: queue, records, dead letters, coordination.

use crate::{
    ApiKeys, Batches, CloudEvents, Comparisons, DeadLetters, DeadWebhooks, Drawings, Heartbeats,
    IdempotencyKeys, JobQueue, Lease, Messaging, ModelDescriptions, Reconciler, ShadowJobs,
    TaskIndex, TaskStore, Webhooks,
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

    /// An index of the newest `most` tasks, for lists. Nothing is read before the first one.
    #[must_use]
    pub fn task_index(&self, most: usize) -> TaskIndex {
        TaskIndex::new(self.clone(), most)
    }

    /// The idempotency keys that clients have used.
    #[must_use]
    pub fn idempotency_keys(&self) -> IdempotencyKeys {
        IdempotencyKeys::new(self.clone())
    }

    /// The API keys.
    #[must_use]
    pub fn api_keys(&self) -> ApiKeys {
        ApiKeys::new(self.clone())
    }

    /// The batches.
    #[must_use]
    pub fn batches(&self) -> Batches {
        Batches::new(self.clone())
    }

    /// The dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.clone())
    }

    /// The drawings of tasks.
    #[must_use]
    pub fn drawings(&self) -> Drawings {
        Drawings::new(self.clone())
    }

    /// The webhooks that are to be delivered.
    #[must_use]
    pub fn webhooks(&self) -> Webhooks {
        Webhooks::new(self.clone())
    }

    /// The stream of events; `None` if `CLOUD_EVENTS` is off.
    #[must_use]
    pub fn cloud_events(&self) -> Option<CloudEvents> {
        CloudEvents::of(self.clone())
    }

    /// The webhooks that were given up.
    #[must_use]
    pub fn dead_webhooks(&self) -> DeadWebhooks {
        DeadWebhooks::new(self.clone())
    }

    /// The heartbeats of the workers.
    #[must_use]
    pub fn heartbeats(&self) -> Heartbeats {
        Heartbeats::new(self.clone())
    }

    /// The descriptions of models.
    #[must_use]
    pub fn model_descriptions(&self) -> ModelDescriptions {
        ModelDescriptions::new(self.clone())
    }

    /// The jobs that the shadow model runs as well.
    #[must_use]
    pub fn shadow_jobs(&self) -> ShadowJobs {
        ShadowJobs::new(self.clone())
    }

    /// What jobs' models and shadow models have found.
    #[must_use]
    pub fn comparisons(&self) -> Comparisons {
        Comparisons::new(self.clone())
    }

    /// A lease called `name` (letters, digits, `-`, `_`), not held yet.
    #[must_use]
    pub fn lease(&self, name: &'static str) -> Lease {
        Lease::new(self.clone(), name)
    }

    /// A reconciler of queue and records, without any state yet.
    #[must_use]
    pub fn reconciler(&self) -> Reconciler {
        Reconciler::new(self.clone())
    }
}
