//! What the clients observed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use domain::{BatchId, TaskId};
use parking_lot::Mutex;

use crate::{
    load::submission::{Expected, Submission},
    verdict::{keys::Leak, observed_batch::ObservedBatch, terminal_state::TerminalState},
};

/// The name of the time without a fault.
pub(crate) const CALM: &str = "calm";

/// The clients' shared history: written while they run, read when they have stopped.
pub(crate) struct History {
    pub(super) observed: Mutex<Observed>,
    /// The fault that is active at the moment.
    fault: Mutex<&'static str>,
}

/// Everything the clients observed.
#[derive(Default)]
pub(crate) struct Observed {
    pub(crate) accepted: BTreeMap<TaskId, Accepted>,
    pub(crate) batches: BTreeMap<BatchId, ObservedBatch>,
    /// The ids that the API answered for each idempotency key, and for each batch that was submitted.
    pub(crate) keys: BTreeMap<String, BTreeSet<TaskId>>,
    /// 503s, by the active fault.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    pub(crate) unanswered: BTreeMap<&'static str, u64>,
    /// Answers that no client should ever get.
    pub(crate) unexpected: Vec<String>,
    /// What the holder of another key was told.
    pub(crate) leaks: Vec<Leak>,
    pub(crate) strangers: Strangers,
}

/// The requests of holders of other keys that were answered as they should.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Strangers {
    /// Those for what belongs to the load.
    pub(crate) unseen: u64,
    /// Of those, the first answers of an API that was down before.
    pub(crate) after_a_restart: u64,
    /// Those with a revoked key.
    pub(crate) refused: u64,
}

/// A task that a client holds a 202 for.
pub(crate) struct Accepted {
    /// The fault that was active when it was submitted.
    pub(crate) fault: &'static str,
    pub(crate) expected: Expected,
    /// Whether its end is reported by a webhook.
    pub(crate) has_callback: bool,
    pub(crate) annotated: bool,
    pub(crate) tiled: bool,
    pub(crate) at: Instant,
    /// The first terminal state that was observed, and when.
    pub(crate) first: Option<(TerminalState, Instant)>,
    /// Later observations that differ from the first, with their source.
    pub(crate) others: Vec<(&'static str, Option<TerminalState>)>,
    /// How often the API answered that the task does not exist.
    pub(crate) denied: u32,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { observed: Mutex::default(), fault: Mutex::new(CALM) }
    }

    pub(crate) fn set_fault(&self, fault: &'static str) {
        *self.fault.lock() = fault;
    }

    pub(crate) fn fault(&self) -> &'static str {
        *self.fault.lock()
    }

    /// Whether the id is new. An id may be answered twice only for the same key.
    pub(crate) fn accepted(
        &self,
        id: TaskId,
        fault: &'static str,
        submission: &Submission,
    ) -> bool {
        let mut observed = self.observed.lock();
        if let Some(key) = &submission.key {
            observed.keys.entry(key.clone()).or_default().insert(id);
        }
        if observed.accepted.contains_key(&id) {
            if submission.key.is_none() {
                observed.unexpected.push(format!("task {id} was accepted twice"));
            }
            return false;
        }
        let task = Accepted {
            has_callback: submission.callback_url.is_some(),
            annotated: submission.annotated,
            tiled: submission.tiled,
            ..Accepted::new(fault, submission.expected)
        };
        observed.accepted.insert(id, task);
        true
    }

    pub(crate) fn refused(&self, fault: &'static str) {
        *self.observed.lock().refused.entry(fault).or_default() += 1;
    }

    pub(crate) fn unanswered(&self, fault: &'static str) {
        *self.observed.lock().unanswered.entry(fault).or_default() += 1;
    }

    pub(crate) fn unexpected(&self, what: String) {
        self.observed.lock().unexpected.push(what);
    }

    pub(crate) fn leaked(&self, leak: Leak) {
        self.observed.lock().leaks.push(leak);
    }

    /// Counts what a stranger was answered as it should.
    pub(crate) fn count_stranger(&self, count: impl FnOnce(&mut Strangers)) {
        count(&mut self.observed.lock().strangers);
    }

    pub(crate) fn denied(&self, id: TaskId) {
        if let Some(task) = self.observed.lock().accepted.get_mut(&id) {
            task.denied += 1;
        }
    }

    /// `source` reports this terminal state; `None`: the task is not terminal, or unknown to the source.
    pub(crate) fn observe(&self, id: TaskId, source: &'static str, end: Option<TerminalState>) {
        let mut observed = self.observed.lock();
        let Some(task) = observed.accepted.get_mut(&id) else { return };
        match (&task.first, end) {
            (None, Some(end)) => task.first = Some((end, Instant::now())),
            (Some((first, _)), end) if end.as_ref() != Some(first) => {
                task.others.push((source, end));
            }
            _ => {}
        }
    }

    /// The newest tasks and batches.
    pub(crate) fn newest(&self) -> (BTreeSet<TaskId>, BTreeSet<TaskId>) {
        const COUNT: usize = 50;
        let observed = self.observed.lock();
        let tasks = observed.accepted.keys().rev().take(COUNT).copied().collect();
        let batches = observed.batches.keys().rev().take(COUNT).map(BatchId::uuid).collect();
        (tasks, batches)
    }

    pub(crate) fn ids(&self) -> Vec<TaskId> {
        self.observed.lock().accepted.keys().copied().collect()
    }

    /// The first terminal state that was observed.
    pub(crate) fn first(&self, id: TaskId) -> Option<TerminalState> {
        let observed = self.observed.lock();
        observed.accepted.get(&id)?.first.as_ref().map(|(end, _)| end.clone())
    }

    /// Whether the task succeeded and its client asked for a drawing.
    pub(crate) fn has_drawing(&self, id: TaskId) -> bool {
        self.succeeded(id, |task| task.annotated)
    }

    /// Whether the task succeeded and its picture was also run in tiles.
    pub(crate) fn has_tiles(&self, id: TaskId) -> bool {
        self.succeeded(id, |task| task.tiled)
    }

    fn succeeded(&self, id: TaskId, is_one: impl Fn(&Accepted) -> bool) -> bool {
        let observed = self.observed.lock();
        observed.accepted.get(&id).filter(|task| is_one(task)).is_some_and(|task| {
            task.first.as_ref().is_some_and(|(end, _)| end.state() == "SUCCESS")
        })
    }

    /// How many tasks have not been observed to be terminal yet.
    pub(crate) fn open(&self) -> usize {
        let observed = self.observed.lock();
        observed.accepted.values().filter(|task| task.first.is_none()).count()
    }

    pub(crate) fn into_observed(self) -> Observed {
        self.observed.into_inner()
    }
}

impl Accepted {
    /// A task without a callback, a drawing or tiles, from now on.
    pub(super) fn new(fault: &'static str, expected: Expected) -> Self {
        Self {
            fault,
            expected,
            has_callback: false,
            annotated: false,
            tiled: false,
            at: Instant::now(),
            first: None,
            others: Vec::new(),
            denied: 0,
        }
    }

    /// From the 202 to the first observation of the terminal state.
    pub(crate) fn took(&self) -> Option<Duration> {
        self.first.as_ref().map(|(_, ended)| ended.duration_since(self.at))
    }
}
