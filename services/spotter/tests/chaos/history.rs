//! What every client was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use domain::TaskId;
use parking_lot::Mutex;

use crate::end::End;

/// What is going wrong while nothing does.
pub(crate) const CALM: &str = "calm";

/// Written by clients while they run, read when they have stopped.
pub(crate) struct History {
    told: Mutex<Told>,
    /// What is going wrong at the moment.
    fault: Mutex<&'static str>,
}

/// Everything clients were told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) accepted: BTreeMap<TaskId, Accepted>,
    /// The ids that each idempotency key was answered with.
    pub(crate) keys: BTreeMap<String, BTreeSet<TaskId>>,
    /// 503s and broken connections, by what was going wrong.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    pub(crate) unanswered: BTreeMap<&'static str, u64>,
    /// Answers that nobody should ever get.
    pub(crate) odd: Vec<String>,
}

/// What a submission may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hope {
    /// SUCCESS.
    Success,
    /// SUCCESS, or EXPIRED: its deadline is near.
    InTime,
    /// FAILURE, and a dead letter: no worker survives it.
    Poison,
}

/// A task that a client holds a 202 for.
pub(crate) struct Accepted {
    /// What was going wrong when it was submitted.
    pub(crate) fault: &'static str,
    pub(crate) hope: Hope,
    pub(crate) at: Instant,
    /// The end that was seen first, and when.
    pub(crate) first: Option<(End, Instant)>,
    /// Ends seen later that differ from the first, with who told them.
    pub(crate) others: Vec<(&'static str, Option<End>)>,
    /// How often its client was told that there is no such task.
    pub(crate) denied: u32,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { told: Mutex::default(), fault: Mutex::new(CALM) }
    }

    pub(crate) fn now(&self, fault: &'static str) {
        *self.fault.lock() = fault;
    }

    pub(crate) fn fault(&self) -> &'static str {
        *self.fault.lock()
    }

    /// Whether the id is new. The same id may be told twice only under the same key.
    pub(crate) fn accepted(
        &self,
        id: TaskId,
        fault: &'static str,
        hope: Hope,
        key: Option<&str>,
    ) -> bool {
        let mut told = self.told.lock();
        if let Some(key) = key {
            told.keys.entry(key.to_owned()).or_default().insert(id);
        }
        if told.accepted.contains_key(&id) {
            if key.is_none() {
                told.odd.push(format!("task {id} was accepted twice"));
            }
            return false;
        }
        let (at, first, others, denied) = (Instant::now(), None, Vec::new(), 0);
        told.accepted.insert(id, Accepted { fault, hope, at, first, others, denied });
        true
    }

    pub(crate) fn refused(&self, fault: &'static str) {
        *self.told.lock().refused.entry(fault).or_default() += 1;
    }

    pub(crate) fn unanswered(&self, fault: &'static str) {
        *self.told.lock().unanswered.entry(fault).or_default() += 1;
    }

    pub(crate) fn odd(&self, what: String) {
        self.told.lock().odd.push(what);
    }

    pub(crate) fn denied(&self, id: TaskId) {
        if let Some(task) = self.told.lock().accepted.get_mut(&id) {
            task.denied += 1;
        }
    }

    /// `source` says that the task has ended like this; `None`: that it has not ended, or that it
    /// does not know it.
    pub(crate) fn saw(&self, id: TaskId, source: &'static str, end: Option<End>) {
        let mut told = self.told.lock();
        let Some(task) = told.accepted.get_mut(&id) else { return };
        match (&task.first, end) {
            (None, Some(end)) => task.first = Some((end, Instant::now())),
            (Some((first, _)), end) if end.as_ref() != Some(first) => {
                task.others.push((source, end));
            }
            _ => {}
        }
    }

    pub(crate) fn ids(&self) -> Vec<TaskId> {
        self.told.lock().accepted.keys().copied().collect()
    }

    /// The end that was seen first.
    pub(crate) fn first(&self, id: TaskId) -> Option<End> {
        let told = self.told.lock();
        told.accepted.get(&id)?.first.as_ref().map(|(end, _)| end.clone())
    }

    /// How many tasks no end was seen of yet.
    pub(crate) fn open(&self) -> usize {
        let told = self.told.lock();
        told.accepted.values().filter(|task| task.first.is_none()).count()
    }

    pub(crate) fn into_told(self) -> Told {
        self.told.into_inner()
    }
}

impl Accepted {
    /// From the 202 to the end as its client saw it.
    pub(crate) fn took(&self) -> Option<Duration> {
        self.first.as_ref().map(|(_, ended)| ended.duration_since(self.at))
    }
}
