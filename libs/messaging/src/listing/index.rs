//! The index, and what else finds tasks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use domain::{Job, TaskFilter, TaskId};
use parking_lot::{Mutex, RwLock};

use super::{
    entries::{Entries, Scanned},
    position::Position,
    queued_jobs::QueuedJobs,
};
use crate::{Messaging, MessagingError};

/// An index of the tasks, and of what it takes to list them. Cheap to clone.
#[derive(Clone)]
pub struct TaskIndex {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) messaging: Messaging,
    /// Maximum number of tasks.
    pub(super) most: usize,
    pub(super) entries: RwLock<Entries>,
    pub(super) queued: RwLock<QueuedJobs>,
    /// Held while changes are read.
    pub(super) position: tokio::sync::Mutex<Position>,
    pub(super) activity: Mutex<Activity>,
    /// How many records were read.
    pub(super) read: AtomicU64,
}

/// Whether lists are asked for.
#[derive(Debug, Default)]
pub(super) struct Activity {
    pub(super) asked_at: Option<Instant>,
    /// Whether a task follows the records.
    pub(super) is_following: bool,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The records are being read for the first time, which takes longer than a request may wait.
    #[error("the index of tasks is being built")]
    Building,
    /// NATS did not answer as expected.
    #[error(transparent)]
    Messaging(#[from] MessagingError),
}

impl TaskIndex {
    /// An empty index of at most `most` tasks, the newest. Nothing is read before the first list.
    pub(crate) fn new(messaging: Messaging, most: usize) -> Self {
        let position = tokio::sync::Mutex::new(Position::new(messaging.clone()));
        let inner = Inner {
            messaging,
            most,
            entries: RwLock::default(),
            queued: RwLock::default(),
            position,
            activity: Mutex::default(),
            read: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// How many tasks it has; 0 while no lists are asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.entries.read().len()
    }

    /// Whether it has no tasks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many records were read for it since the process started.
    #[must_use]
    pub fn records_read(&self) -> u64 {
        self.inner.read.load(Ordering::Relaxed)
    }

    /// Notes that this process has put a job into the queue, so that the next list has its task.
    pub fn note_queued(&self, job: &Job) {
        if self.inner.activity.lock().is_following {
            self.inner.queued.write().note(job.task_id, job.model.clone());
        }
    }

    /// Up to `most` tasks with ids below `before` that the filter may match.
    pub(super) fn candidates(
        &self,
        filter: &TaskFilter,
        before: Option<TaskId>,
        most: usize,
    ) -> Candidates {
        let (entries, queued) = (self.inner.entries.read(), self.inner.queued.read());
        let Scanned { ids, rest_before } = entries.scan(filter, before, most);
        let unrecorded = queued.scan(filter, rest_before, before);
        let unrecorded = unrecorded.filter(|id| entries.lacks(*id)).take(most);
        let mut candidates = Candidates { ids: Vec::new(), rest_before };
        candidates.ids.extend(ids.into_iter().map(|id| (id, true)));
        candidates.ids.extend(unrecorded.map(|id| (id, false)));
        candidates.ids.sort_unstable_by_key(|(id, _)| std::cmp::Reverse(*id));
        if candidates.ids.len() > most {
            candidates.ids.truncate(most);
            candidates.rest_before = candidates.ids.last().map(|(id, _)| *id);
        }
        candidates
    }
}

/// Tasks that a list may have.
pub(super) struct Candidates {
    /// Newest first, and whether each has a record.
    pub(super) ids: Vec<(TaskId, bool)>,
    /// Where the next ones begin; `None` if there are no more.
    pub(super) rest_before: Option<TaskId>,
}
