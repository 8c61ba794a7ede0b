//! Checks a history against the invariants. Pure code, so that controls can show that it detects violations.
//!
//! I1: every 202 reaches a terminal state in time. I2: a terminal state never changes, whatever its source. I3: nothing
//! is left in the queue. I4: a job is not run more often than it is delivered. I5: a key stands for one task. I6: no
//! restart loses a 202, which is I1 and I2 with restarts among the faults. I7: the end of every task with a callback is
//! reported, or lies among the dead webhooks. What batches and API keys promise beyond that is in `batches.rs` and
//! `keys.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{BatchId, TaskId};

use super::{
    batches::{BatchEvidence, BatchViolation, check_batch},
    keys::Leak,
    terminal_state::TerminalState,
    webhook::Webhook,
};
use crate::load::submission::Expected;

/// How long the end of a batch may take beyond the bound for tasks: the leases of the API that received it and of the one
/// that ended batches run out, if both have died, and what it does is tried again.
const BATCH_LEASES: Duration = Duration::from_secs(60);

/// What is known of one accepted task at the end of the scenario.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    pub(crate) id: TaskId,
    pub(crate) expected: Expected,
    /// The first terminal state that was observed, and how long after the 202 or the last heal, whichever is later.
    pub(crate) first: Option<(TerminalState, Duration)>,
    /// Observations that differ from it, with their source; `None`: not terminal, or no such task.
    pub(crate) others: Vec<(&'static str, Option<TerminalState>)>,
    /// How often the API answered that the task does not exist.
    pub(crate) denied: u32,
    /// How many runs of the model on it were completed.
    pub(crate) runs: u32,
    /// Whether its job is a dead letter.
    pub(crate) is_dead: bool,
    pub(crate) webhook: Webhook,
}

/// Everything that is checked against the invariants.
pub(crate) struct Case<'a> {
    pub(crate) tasks: &'a [Evidence],
    pub(crate) batches: &'a [BatchEvidence],
    /// The ids that the API answered for each idempotency key.
    pub(crate) keys: &'a BTreeMap<String, BTreeSet<TaskId>>,
    pub(crate) leftover: Leftover,
    /// Discrepancies between queue and records that the APIs still report.
    pub(crate) discrepancies: u64,
    pub(crate) unexpected: &'a [String],
    pub(crate) leaks: &'a [Leak],
}

/// What is left in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Leftover {
    /// Messages in the stream.
    pub(crate) stored: u64,
    pub(crate) waiting: u64,
    pub(crate) in_progress: u64,
    /// Webhooks that are neither delivered nor given up.
    pub(crate) webhooks: u64,
}

/// The bounds that a scenario allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) terminal_within: Duration,
    pub(crate) runs: u32,
}

impl Default for Bounds {
    /// 60 s, and the default of `MAX_ATTEMPTS`.
    fn default() -> Self {
        Self { terminal_within: Duration::from_secs(60), runs: 5 }
    }
}

impl Bounds {
    /// How long the end of a batch may take.
    pub(crate) fn batch_within(&self) -> Duration {
        self.terminal_within + BATCH_LEASES
    }
}

/// A violation of an invariant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Violation {
    /// I1: no terminal state.
    NotTerminal(TaskId),
    /// I1: a terminal state after the bound.
    TerminalLate(TaskId, Duration),
    /// I2: a later observation differs.
    Changed {
        id: TaskId,
        source: &'static str,
        first: TerminalState,
        later: Option<TerminalState>,
    },
    /// I6: the API answered the holder of a 202 that the task does not exist.
    Denied(TaskId, u32),
    /// I3.
    LeftInQueue(Leftover),
    /// I3: queue and records differ, and are not repaired.
    Discrepancies(u64),
    /// I4.
    RunTooOften(TaskId, u32),
    /// I5: one key, several tasks.
    KeySplit(String, BTreeSet<TaskId>),
    /// A terminal state that this picture cannot reach.
    WrongTerminalState(TaskId, String),
    /// Given up without a dead letter.
    NotAmongDeadLetters(TaskId),
    /// I7.
    WebhookLost(TaskId),
    Batch(BatchId, BatchViolation),
    Leak(Leak),
    /// An answer that no client should get, such as a 500, or a 400 for a good picture.
    UnexpectedAnswer(String),
}

impl Violation {
    /// The task that it is about, if it is about one.
    pub(crate) fn task(&self) -> Option<TaskId> {
        match self {
            Self::NotTerminal(id)
            | Self::TerminalLate(id, _)
            | Self::Changed { id, .. }
            | Self::Denied(id, _)
            | Self::RunTooOften(id, _)
            | Self::WrongTerminalState(id, _)
            | Self::NotAmongDeadLetters(id)
            | Self::WebhookLost(id) => Some(*id),
            Self::LeftInQueue(_)
            | Self::Discrepancies(_)
            | Self::KeySplit(..)
            | Self::Batch(..)
            | Self::Leak(_)
            | Self::UnexpectedAnswer(_) => None,
        }
    }
}

pub(crate) fn check(case: &Case<'_>, bounds: Bounds) -> Vec<Violation> {
    let mut violations: Vec<Violation> =
        case.tasks.iter().flat_map(|task| check_task(task, bounds)).collect();
    for batch in case.batches {
        let found = check_batch(batch, bounds.batch_within());
        violations.extend(found.into_iter().map(|found| Violation::Batch(batch.id, found)));
    }
    violations.extend(case.leaks.iter().cloned().map(Violation::Leak));
    let split = case.keys.iter().filter(|(_, ids)| ids.len() > 1);
    violations.extend(split.map(|(key, ids)| Violation::KeySplit(key.clone(), ids.clone())));
    if case.leftover != Leftover::default() {
        violations.push(Violation::LeftInQueue(case.leftover));
    }
    if case.discrepancies > 0 {
        violations.push(Violation::Discrepancies(case.discrepancies));
    }
    violations.extend(case.unexpected.iter().cloned().map(Violation::UnexpectedAnswer));
    violations
}

fn check_task(task: &Evidence, bounds: Bounds) -> Vec<Violation> {
    let mut violations = Vec::new();
    match &task.first {
        None => violations.push(Violation::NotTerminal(task.id)),
        Some((_, after)) if *after > bounds.terminal_within => {
            violations.push(Violation::TerminalLate(task.id, *after));
        }
        Some(_) => {}
    }
    if let Some((first, _)) = &task.first {
        if !is_allowed(task.expected, first.state()) {
            violations.push(Violation::WrongTerminalState(task.id, first.state_and_reason()));
        }
        for (source, later) in &task.others {
            let (id, first, later) = (task.id, first.clone(), later.clone());
            violations.push(Violation::Changed { id, source, first, later });
        }
    }
    if task.denied > 0 {
        violations.push(Violation::Denied(task.id, task.denied));
    }
    if task.runs > bounds.runs {
        violations.push(Violation::RunTooOften(task.id, task.runs));
    }
    if task.expected == Expected::Poison && !task.is_dead {
        violations.push(Violation::NotAmongDeadLetters(task.id));
    }
    if task.webhook == Webhook::Lost {
        violations.push(Violation::WebhookLost(task.id));
    }
    violations
}

fn is_allowed(expected: Expected, state: &str) -> bool {
    match expected {
        Expected::Success => state == "SUCCESS",
        Expected::InTime => ["SUCCESS", "EXPIRED"].contains(&state),
        Expected::Cancelled => ["SUCCESS", "REVOKED"].contains(&state),
        Expected::Poison => state == "FAILURE",
    }
}

/// The completed runs of each task in the workers' logs.
pub(crate) fn count_runs(lines: &[String]) -> BTreeMap<TaskId, u32> {
    let mut runs = BTreeMap::new();
    for line in lines.iter().filter(|line| line.contains("\"detected\"")) {
        // The process's id precedes the JSON.
        let json = line.find('{').map_or("", |at| &line[at..]);
        let Ok(event) = serde_json::from_str::<serde_json::Value>(json) else { continue };
        let id = event["task_id"].as_str().and_then(|id| id.parse().ok());
        if let (Some("detected"), Some(id)) = (event["message"].as_str(), id) {
            *runs.entry(id).or_default() += 1;
        }
    }
    runs
}

mod controls {
    use super::*;

    fn terminal(at: &str) -> TerminalState {
        TerminalState::for_control("SUCCESS", at)
    }

    /// A task without any violation.
    fn good() -> Evidence {
        let first = Some((terminal("noon"), Duration::from_secs(1)));
        Evidence {
            id: TaskId::generate(),
            expected: Expected::Success,
            first,
            others: Vec::new(),
            denied: 0,
            runs: 1,
            is_dead: false,
            webhook: Webhook::None,
        }
    }

    fn nothing() -> Case<'static> {
        static NO_KEYS: BTreeMap<String, BTreeSet<TaskId>> = BTreeMap::new();
        let leftover = Leftover::default();
        Case {
            tasks: &[],
            batches: &[],
            keys: &NO_KEYS,
            leftover,
            discrepancies: 0,
            unexpected: &[],
            leaks: &[],
        }
    }

    fn violations(task: &Evidence) -> Vec<Violation> {
        let (tasks, keys) = ([good(), task.clone()], BTreeMap::new());
        let case = Case { tasks: &tasks, keys: &keys, ..nothing() };
        check(&case, Bounds::default())
    }

    #[test]
    fn a_good_history_passes() {
        assert_eq!(violations(&good()), []);
    }

    #[test]
    fn a_lost_task_is_reported() {
        let lost = Evidence { first: None, ..good() };
        assert_eq!(violations(&lost), [Violation::NotTerminal(lost.id)]);
        let late = Duration::from_secs(61);
        let slow = Evidence { first: Some((terminal("noon"), late)), ..good() };
        assert_eq!(violations(&slow), [Violation::TerminalLate(slow.id, late)]);
        let denied = Evidence { denied: 1, ..good() };
        assert_eq!(violations(&denied), [Violation::Denied(denied.id, 1)]);
    }

    #[test]
    fn a_changed_or_vanished_terminal_state_is_reported() {
        let others = [
            ("API", Some(terminal("one o'clock"))),
            ("Redis", Some(TerminalState::for_control("FAILURE", "noon"))),
            ("record", None),
        ];
        for other in others {
            let task = Evidence { others: vec![other.clone()], ..good() };
            let (source, later) = other;
            let changed =
                Violation::Changed { id: task.id, source, first: terminal("noon"), later };
            assert_eq!(violations(&task), [changed]);
        }
    }

    #[test]
    fn a_terminal_state_that_is_not_allowed_is_reported() {
        let reached =
            |state| Some((TerminalState::for_control(state, "noon"), Duration::from_secs(1)));
        let failed = Evidence { first: reached("FAILURE"), ..good() };
        let wrong = Violation::WrongTerminalState(failed.id, "FAILURE".to_owned());
        assert_eq!(violations(&failed), [wrong]);
        let late = Evidence { first: reached("EXPIRED"), expected: Expected::InTime, ..good() };
        assert_eq!(violations(&late), []);
        let cancelled =
            Evidence { first: reached("REVOKED"), expected: Expected::Cancelled, ..good() };
        assert_eq!(violations(&cancelled), []);
        let given_up = Evidence { expected: Expected::Poison, is_dead: true, ..failed };
        assert_eq!(violations(&given_up), []);
        let gone = Evidence { is_dead: false, ..given_up };
        assert_eq!(violations(&gone), [Violation::NotAmongDeadLetters(gone.id)]);
    }

    #[test]
    fn a_webhook_that_was_neither_taken_nor_given_up_is_reported() {
        for webhook in [Webhook::Taken(1), Webhook::Taken(3), Webhook::Dead] {
            assert_eq!(violations(&Evidence { webhook, ..good() }), []);
        }
        let lost = Evidence { webhook: Webhook::Lost, ..good() };
        assert_eq!(violations(&lost), [Violation::WebhookLost(lost.id)]);
    }

    #[test]
    fn a_key_that_stands_for_two_tasks_is_reported() {
        let ids = BTreeSet::from([TaskId::generate(), TaskId::generate()]);
        let one = BTreeSet::from([TaskId::generate()]);
        let keys = BTreeMap::from([("one".to_owned(), one), ("two".to_owned(), ids.clone())]);
        let case = Case { keys: &keys, ..nothing() };
        let found = check(&case, Bounds::default());
        assert_eq!(found, [Violation::KeySplit("two".to_owned(), ids)]);
    }

    #[test]
    fn too_many_runs_are_reported() {
        let task = Evidence { runs: 6, ..good() };
        assert_eq!(violations(&task), [Violation::RunTooOften(task.id, 6)]);
        let id = task.id;
        let line = format!(r#"17 {{"message":"detected","task_id":"{id}","attempt":1}}"#);
        let other = format!(r#"17 {{"message":"failed for good","task_id":"{id}"}}"#);
        assert_eq!(count_runs(&[line.clone(), other, line]), BTreeMap::from([(id, 2)]));
    }

    #[test]
    fn a_leak_is_reported() {
        let leaks = [Leak::Seen("200".to_owned()), Leak::RevokedServed("200".to_owned())];
        let case = Case { leaks: &leaks, ..nothing() };
        assert_eq!(check(&case, Bounds::default()), leaks.map(Violation::Leak));
    }

    #[test]
    fn leftovers_and_unexpected_answers_are_reported() {
        let left = Leftover { stored: 1, ..Leftover::default() };
        let (tasks, unexpected) = ([good()], ["500".to_owned()]);
        let case = Case {
            tasks: &tasks,
            leftover: left,
            discrepancies: 2,
            unexpected: &unexpected,
            ..nothing()
        };
        let found = check(&case, Bounds::default());
        let expected = [
            Violation::LeftInQueue(left),
            Violation::Discrepancies(2),
            Violation::UnexpectedAnswer("500".to_owned()),
        ];
        assert_eq!(found, expected);
    }
}
