//! The invariants, held against what happened. Pure, so that controls can show that it finds fault.
//!
//! I1: every 202 reaches an end in time. I2: an end never changes, whoever tells it. I3: nothing is
//! left in the queue. I4: a job is not run more often than it is handed out. I5: a key stands for
//! one task. I6: no restart loses a 202, which is I1 and I2 with restarts among the faults.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::TaskId;

use crate::{end::End, history::Hope};

/// What is known of one accepted task when everything is over.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    pub(crate) id: TaskId,
    pub(crate) hope: Hope,
    /// The end that was seen first, and how long after the 202 or the last mend, whichever is later.
    pub(crate) first: Option<(End, Duration)>,
    /// What others said that is not this end; `None` for "it has not ended" or "no such task".
    pub(crate) others: Vec<(&'static str, Option<End>)>,
    /// How often its client was told that there is no such task.
    pub(crate) denied: u32,
    /// How often a worker ran the model on it to the end.
    pub(crate) runs: u32,
    /// Whether it is among the dead letters.
    pub(crate) is_dead: bool,
}

/// Everything that is held against the invariants.
pub(crate) struct Case<'a> {
    pub(crate) tasks: &'a [Evidence],
    /// The ids that each idempotency key was answered with.
    pub(crate) keys: &'a BTreeMap<String, BTreeSet<TaskId>>,
    pub(crate) leftover: Leftover,
    /// Differences between queue and records that the APIs still tell of.
    pub(crate) discrepancies: u64,
    pub(crate) odd: &'a [String],
}

/// What is left in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Leftover {
    /// Messages in the stream.
    pub(crate) stored: u64,
    pub(crate) waiting: u64,
    pub(crate) in_progress: u64,
}

/// What a scenario allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) ends_within: Duration,
    pub(crate) runs: u32,
}

impl Default for Bounds {
    /// 60 s, and as many runs as a worker's `MAX_ATTEMPTS` lets a job have.
    fn default() -> Self {
        Self { ends_within: Duration::from_secs(60), runs: 5 }
    }
}

/// What must never be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Violation {
    /// I1: no end.
    NeverEnded(TaskId),
    /// I1: an end, too late.
    EndedLate(TaskId, Duration),
    /// I2: told otherwise later.
    Changed { id: TaskId, source: &'static str, first: End, later: Option<End> },
    /// I6: the holder of a 202 was told that there is no such task.
    Denied(TaskId, u32),
    /// I3.
    LeftInQueue(Leftover),
    /// I3: queue and records differ, and nothing is being repaired.
    Discrepancies(u64),
    /// I4.
    RunTooOften(TaskId, u32),
    /// I5: one key, several tasks.
    KeySplit(String, BTreeSet<TaskId>),
    /// An end that this picture cannot have come to.
    WrongEnd(TaskId, String),
    /// Given up, and not kept for anybody to look at.
    NotAmongDeadLetters(TaskId),
    /// An answer that nobody should get, such as a 500, or a 400 for a good picture.
    OddAnswer(String),
}

pub(crate) fn check(case: &Case<'_>, bounds: Bounds) -> Vec<Violation> {
    let mut violations: Vec<Violation> =
        case.tasks.iter().flat_map(|task| check_task(task, bounds)).collect();
    let split = case.keys.iter().filter(|(_, ids)| ids.len() > 1);
    violations.extend(split.map(|(key, ids)| Violation::KeySplit(key.clone(), ids.clone())));
    if case.leftover != Leftover::default() {
        violations.push(Violation::LeftInQueue(case.leftover));
    }
    if case.discrepancies > 0 {
        violations.push(Violation::Discrepancies(case.discrepancies));
    }
    violations.extend(case.odd.iter().cloned().map(Violation::OddAnswer));
    violations
}

fn check_task(task: &Evidence, bounds: Bounds) -> Vec<Violation> {
    let mut violations = Vec::new();
    match &task.first {
        None => violations.push(Violation::NeverEnded(task.id)),
        Some((_, after)) if *after > bounds.ends_within => {
            violations.push(Violation::EndedLate(task.id, *after));
        }
        Some(_) => {}
    }
    if let Some((first, _)) = &task.first {
        if !may_end(task.hope, first.state()) {
            violations.push(Violation::WrongEnd(task.id, first.state().to_owned()));
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
    if task.hope == Hope::Poison && !task.is_dead {
        violations.push(Violation::NotAmongDeadLetters(task.id));
    }
    violations
}

fn may_end(hope: Hope, state: &str) -> bool {
    match hope {
        Hope::Success => state == "SUCCESS",
        Hope::InTime => ["SUCCESS", "EXPIRED"].contains(&state),
        Hope::Poison => state == "FAILURE",
    }
}

/// How often each task's run is told of in the workers' logs.
pub(crate) fn count_runs(lines: &[String]) -> BTreeMap<TaskId, u32> {
    let mut runs = BTreeMap::new();
    for line in lines.iter().filter(|line| line.contains("\"detected\"")) {
        // Before the JSON stands the process's id.
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

    fn end(at: &str) -> End {
        End::for_control("SUCCESS", at)
    }

    /// A task that went well.
    fn well() -> Evidence {
        let first = Some((end("noon"), Duration::from_secs(1)));
        Evidence {
            id: TaskId::generate(),
            hope: Hope::Success,
            first,
            others: Vec::new(),
            denied: 0,
            runs: 1,
            is_dead: false,
        }
    }

    fn nothing() -> Case<'static> {
        static NO_KEYS: BTreeMap<String, BTreeSet<TaskId>> = BTreeMap::new();
        let leftover = Leftover::default();
        Case { tasks: &[], keys: &NO_KEYS, leftover, discrepancies: 0, odd: &[] }
    }

    fn violations(task: &Evidence) -> Vec<Violation> {
        let (tasks, keys) = ([well(), task.clone()], BTreeMap::new());
        let case = Case { tasks: &tasks, keys: &keys, ..nothing() };
        check(&case, Bounds::default())
    }

    #[test]
    fn a_good_history_passes() {
        assert_eq!(violations(&well()), []);
    }

    #[test]
    fn a_lost_task_is_reported() {
        let lost = Evidence { first: None, ..well() };
        assert_eq!(violations(&lost), [Violation::NeverEnded(lost.id)]);
        let late = Duration::from_secs(61);
        let slow = Evidence { first: Some((end("noon"), late)), ..well() };
        assert_eq!(violations(&slow), [Violation::EndedLate(slow.id, late)]);
        let denied = Evidence { denied: 1, ..well() };
        assert_eq!(violations(&denied), [Violation::Denied(denied.id, 1)]);
    }

    #[test]
    fn a_changed_a_second_and_a_vanished_end_are_reported() {
        let others = [
            ("API", Some(end("one o'clock"))),
            ("Redis", Some(End::for_control("FAILURE", "noon"))),
            ("record", None),
        ];
        for other in others {
            let task = Evidence { others: vec![other.clone()], ..well() };
            let (source, later) = other;
            let changed = Violation::Changed { id: task.id, source, first: end("noon"), later };
            assert_eq!(violations(&task), [changed]);
        }
    }

    #[test]
    fn an_end_that_cannot_be_right_is_reported() {
        let ended = |state| Some((End::for_control(state, "noon"), Duration::from_secs(1)));
        let failed = Evidence { first: ended("FAILURE"), ..well() };
        let wrong = Violation::WrongEnd(failed.id, "FAILURE".to_owned());
        assert_eq!(violations(&failed), [wrong]);
        let late = Evidence { first: ended("EXPIRED"), hope: Hope::InTime, ..well() };
        assert_eq!(violations(&late), []);
        let given_up = Evidence { hope: Hope::Poison, is_dead: true, ..failed };
        assert_eq!(violations(&given_up), []);
        let gone = Evidence { is_dead: false, ..given_up };
        assert_eq!(violations(&gone), [Violation::NotAmongDeadLetters(gone.id)]);
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
    fn work_done_too_often_is_reported() {
        let task = Evidence { runs: 6, ..well() };
        assert_eq!(violations(&task), [Violation::RunTooOften(task.id, 6)]);
        let id = task.id;
        let line = format!(r#"17 {{"message":"detected","task_id":"{id}","attempt":1}}"#);
        let other = format!(r#"17 {{"message":"failed for good","task_id":"{id}"}}"#);
        assert_eq!(count_runs(&[line.clone(), other, line]), BTreeMap::from([(id, 2)]));
    }

    #[test]
    fn a_queue_that_is_not_empty_and_odd_answers_are_reported() {
        let left = Leftover { stored: 1, ..Leftover::default() };
        let (tasks, odd) = ([well()], ["500".to_owned()]);
        let case = Case { tasks: &tasks, leftover: left, discrepancies: 2, odd: &odd, ..nothing() };
        let found = check(&case, Bounds::default());
        let expected = [
            Violation::LeftInQueue(left),
            Violation::Discrepancies(2),
            Violation::OddAnswer("500".to_owned()),
        ];
        assert_eq!(found, expected);
    }
}
