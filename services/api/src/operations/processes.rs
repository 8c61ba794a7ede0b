//! The newest status of each process.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use messaging::ProcessStatus;

/// How long a process that does not answer any more is taken to run.
const SILENCE: Duration = Duration::from_secs(3);

/// The most processes: more than any system has, but a limit on what a forged login can send.
const MOST: usize = 1000;

/// The newest status of each process, by its instance, and when it came.
#[derive(Default)]
pub(super) struct Processes(HashMap<String, (ProcessStatus, Instant)>);

impl Processes {
    /// Notes an answer.
    pub(super) fn note(&mut self, status: ProcessStatus, now: Instant) {
        if self.0.len() < MOST || self.0.contains_key(&status.process.instance) {
            self.0.insert(status.process.instance.clone(), (status, now));
        }
    }

    /// Whether none is known.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all that are known have answered since this moment.
    pub(super) fn have_answered_since(&self, moment: Instant) -> bool {
        self.0.values().all(|(_, at)| *at >= moment)
    }

    /// Those that have answered lately, in the order of their names. The others are forgotten.
    pub(super) fn living(&mut self, now: Instant) -> Vec<ProcessStatus> {
        self.0.retain(|_, (_, at)| now.duration_since(*at) < SILENCE);
        let mut living: Vec<_> = self.0.values().map(|(status, _)| status.clone()).collect();
        living.sort_by(|one, other| {
            let (one, other) = (&one.process, &other.process);
            (&one.name, &one.instance).cmp(&(&other.name, &other.instance))
        });
        living
    }
}

#[cfg(test)]
mod tests {
    use messaging::{ApiStatus, EndedTotals, PartStatus, ProcessIdentity};
    use time::OffsetDateTime;

    use super::*;

    fn status(name: &str, accepted: u64) -> ProcessStatus {
        ProcessStatus {
            process: ProcessIdentity {
                instance: name.to_owned(),
                name: name.to_owned(),
                version: "1.0".to_owned(),
                started_at: OffsetDateTime::UNIX_EPOCH,
            },
            ended: EndedTotals::default(),
            part: PartStatus::Api(ApiStatus { accepted, ..ApiStatus::default() }),
        }
    }

    #[test]
    fn the_newest_answers_of_those_that_still_answer_are_in_order() {
        let (mut processes, start) = (Processes::default(), Instant::now());
        assert!(processes.is_empty());
        for (name, accepted) in [("b", 1), ("a", 1), ("b", 2)] {
            processes.note(status(name, accepted), start);
        }
        assert_eq!(processes.living(start), [status("a", 1), status("b", 2)]);
        let later = start + Duration::from_secs(1);
        processes.note(status("b", 3), later);
        assert!(!processes.have_answered_since(later));
        let end = start + SILENCE;
        let names: Vec<_> =
            processes.living(end).into_iter().map(|status| status.process.name).collect();
        assert_eq!(names, ["b"]);
        assert!(processes.have_answered_since(later));
    }
}
