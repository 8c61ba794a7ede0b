//! The events of a task, as far as its records show them.
//!
//! NATS keeps only the newest record of a task. So a client that comes later, or comes back, gets the present state and
//! what follows, and never an event that is older than the last one it has seen.

use std::{collections::VecDeque, fmt, str::FromStr};

use domain::{RetryReason, TaskRecord, TaskState};
use messaging::RecordVersion;

/// What has happened to a task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TaskEvent {
    pub(crate) id: EventId,
    /// The task after the event.
    pub(crate) record: TaskRecord,
    /// Why it is queued again.
    pub(crate) retry: Option<RetryReason>,
}

impl TaskEvent {
    /// The event's name.
    pub(crate) fn name(&self) -> &'static str {
        match &self.record.state {
            TaskState::Queued { .. } if self.retry.is_some() => "retried",
            TaskState::Queued { .. } => "queued",
            TaskState::Started { .. } => "started",
            TaskState::Success { .. } => "succeeded",
            TaskState::Failure { .. } => "failed",
            TaskState::Revoked { .. } => "revoked",
            TaskState::Expired { .. } => "expired",
        }
    }
}

/// Which event of its task it is: enough to tell what is newer. Its text is the `id` of a server-sent event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventId {
    /// The revision of the record that shows the event.
    revision: u64,
    step: Step,
}

/// The state that an event led to, without what does not distinguish events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Queued { attempts: u32, released: bool },
    Started { attempts: u32, at_ms: i64 },
    Ended,
}

impl Step {
    fn of(record: &TaskRecord) -> Self {
        let attempts = record.attempts;
        match record.state {
            TaskState::Queued { released } => Self::Queued { attempts, released },
            TaskState::Started { started_at, .. } => {
                let at_ms = started_at.unix_timestamp_nanos() / 1_000_000;
                Self::Started { attempts, at_ms: i64::try_from(at_ms).unwrap_or_default() }
            }
            _ => Self::Ended,
        }
    }

    /// Nothing can have come before it.
    fn is_first(self) -> bool {
        self == Self::Queued { attempts: 0, released: false }
    }
}

impl EventId {
    /// The event that the record shows.
    fn of(version: &RecordVersion) -> Self {
        Self { revision: version.revision, step: Step::of(&version.record) }
    }

    /// Whether nothing follows this event.
    pub(crate) fn is_last(self) -> bool {
        self.step == Step::Ended
    }

    /// Whether a client that has seen this event last has not seen `other`, which is the newer one.
    fn is_followed_by(self, other: Self) -> bool {
        match (self.step, other.step) {
            (Step::Ended, _) => false,
            (_, Step::Ended) => true,
            (seen, step) if seen == step || step.is_first() => false,
            // A first run shows before its record is stored, if that is stored at all.
            (seen, Step::Started { .. }) if other.revision == 0 => seen.is_first(),
            // A read from a replica may be older than what was seen before.
            _ => other.revision > self.revision,
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { revision, step } = self;
        match step {
            Step::Queued { attempts, released: false } => write!(f, "{revision}-q{attempts}"),
            Step::Queued { attempts, released: true } => write!(f, "{revision}-r{attempts}"),
            Step::Started { attempts, at_ms } => write!(f, "{revision}-s{attempts}-{at_ms}"),
            Step::Ended => write!(f, "{revision}-e"),
        }
    }
}

impl FromStr for EventId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (revision, step) = text.split_once('-').ok_or(())?;
        let number = |text: &str| text.parse().map_err(drop);
        let step = if step == "e" {
            Step::Ended
        } else if let Some(attempts) = step.strip_prefix('q') {
            Step::Queued { attempts: number(attempts)?, released: false }
        } else if let Some(attempts) = step.strip_prefix('r') {
            Step::Queued { attempts: number(attempts)?, released: true }
        } else {
            let (attempts, at_ms) = step.strip_prefix('s').ok_or(())?.split_once('-').ok_or(())?;
            Step::Started { attempts: number(attempts)?, at_ms: at_ms.parse().map_err(drop)? }
        };
        Ok(Self { revision: revision.parse().map_err(drop)?, step })
    }
}

/// What one client has seen of a task, and what it is to see next.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    seen: Option<EventId>,
    /// Whether everything since `seen` was noted.
    is_gapless: bool,
    unsent: VecDeque<TaskEvent>,
}

impl Progress {
    /// Of a client that has seen this event last; `None`: nothing.
    pub(crate) fn after(seen: Option<EventId>) -> Self {
        Self { seen, ..Self::default() }
    }

    /// Notes a record of the task, which may be an old one.
    pub(crate) fn note(&mut self, version: RecordVersion) {
        let id = EventId::of(&version);
        let RecordVersion { record, revision } = version;
        let is_gapless = std::mem::replace(&mut self.is_gapless, true);
        match self.seen {
            // The same event in a newer record, such as one of a run whose deadline is extended.
            Some(seen) if seen.step == id.step => {
                self.seen = Some(EventId { revision: revision.max(seen.revision), ..seen });
                return;
            }
            Some(seen) if !seen.is_followed_by(id) => return,
            Some(seen) => {
                if is_gapless && let Some(lost) = lost_run(seen, &record) {
                    self.unsent.push_back(TaskEvent {
                        // Older than what it shows by, newer than what was seen.
                        id: EventId { revision: revision.saturating_sub(1), step: Step::of(&lost) },
                        record: lost,
                        retry: Some(RetryReason::WorkerLost),
                    });
                }
            }
            None => {}
        }
        let id = match self.seen {
            Some(seen) if revision == 0 => EventId { revision: seen.revision, ..id },
            _ => id,
        };
        self.seen = Some(id);
        let retry = RetryReason::of(&record);
        self.unsent.push_back(TaskEvent { id, record, retry });
    }

    /// The next event to send.
    pub(crate) fn next(&mut self) -> Option<TaskEvent> {
        self.unsent.pop_front()
    }
}

/// The task before the run of `record`, where the run before that one has ended without a word after `seen`.
fn lost_run(seen: EventId, record: &TaskRecord) -> Option<TaskRecord> {
    let Step::Started { attempts, .. } = Step::of(record) else { return None };
    let is_lost = match seen.step {
        Step::Started { .. } => attempts > 1,
        Step::Queued { attempts: before, .. } => attempts > before.saturating_add(1),
        Step::Ended => false,
    };
    let queued = TaskState::Queued { released: false };
    let earlier = attempts.saturating_sub(1);
    is_lost.then(|| TaskRecord { attempts: earlier, ..record.with_state(queued) })
}

#[cfg(test)]
mod tests {
    use domain::{DetectionSettings, Job};
    use time::{Duration, OffsetDateTime};

    use super::*;

    fn version(revision: u64, attempts: u32, state: TaskState) -> RecordVersion {
        let job =
            Job::new("bus.jpg".to_owned(), "m".parse().unwrap(), DetectionSettings::default());
        RecordVersion { record: TaskRecord { job, attempts, state }, revision }
    }

    fn queued(revision: u64, attempts: u32) -> RecordVersion {
        version(revision, attempts, TaskState::Queued { released: false })
    }

    fn released(revision: u64, attempts: u32) -> RecordVersion {
        version(revision, attempts, TaskState::Queued { released: true })
    }

    /// A run that began at this second.
    fn started(revision: u64, attempts: u32, at: i64) -> RecordVersion {
        let started_at = OffsetDateTime::UNIX_EPOCH + Duration::seconds(at);
        version(revision, attempts, TaskState::Started { started_at, run_deadline: None })
    }

    fn revoked(revision: u64) -> RecordVersion {
        let finished_at = OffsetDateTime::UNIX_EPOCH;
        version(revision, 0, TaskState::Revoked { finished_at })
    }

    /// Names and ids of the events that these records show to a client that has seen `seen`.
    fn events(
        seen: Option<&str>,
        versions: impl IntoIterator<Item = RecordVersion>,
    ) -> Vec<String> {
        let mut progress = Progress::after(seen.map(|seen| seen.parse().unwrap()));
        let mut shown = Vec::new();
        for version in versions {
            progress.note(version);
            while let Some(event) = progress.next() {
                let reason = event.retry.map(|reason| format!(" {reason:?}")).unwrap_or_default();
                shown.push(format!("{} {}{reason}", event.id, event.name()));
            }
        }
        shown
    }

    #[test]
    fn each_change_is_an_event() {
        let shown = events(
            None,
            [
                queued(0, 0),
                started(3, 1, 10),
                queued(4, 1),
                started(5, 2, 20),
                released(6, 1),
                started(7, 2, 30),
                revoked(9),
                revoked(9),
            ],
        );
        let expected = [
            "0-q0 queued",
            "3-s1-10000 started",
            "4-q1 retried RunFailed",
            "5-s2-20000 started",
            "6-r1 retried WorkerStopped",
            "7-s2-30000 started",
            "9-e revoked",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_same_event_and_older_records_are_no_news() {
        let shown = events(
            None,
            [
                queued(0, 0),
                // Its record is stored later.
                queued(2, 0),
                // Not stored, and then stored, and then with a later deadline.
                started(0, 1, 10),
                queued(2, 0),
                started(3, 1, 10),
                started(8, 1, 10),
                // Of a lagging replica.
                queued(5, 1),
                revoked(9),
                started(10, 1, 11),
            ],
        );
        assert_eq!(shown, ["0-q0 queued", "2-s1-10000 started", "9-e revoked"]);
    }

    #[test]
    fn a_run_that_ended_without_a_word_shows_by_the_next_one() {
        let shown = events(None, [started(3, 1, 10), started(5, 2, 20)]);
        let expected = ["3-s1-10000 started", "4-q1 retried WorkerLost", "5-s2-20000 started"];
        assert_eq!(shown, expected);
        let shown = events(None, [queued(0, 0), started(5, 2, 20)]);
        assert_eq!(shown, ["0-q0 queued", "4-q1 retried WorkerLost", "5-s2-20000 started"]);
    }

    #[test]
    fn a_client_that_comes_back_gets_what_is_newer() {
        let cases = [
            ("0-q0", queued(2, 0), None),
            ("0-q0", started(3, 1, 10), Some("3-s1-10000 started")),
            ("3-s1-10000", started(4, 1, 10), None),
            // What was in between is unknown.
            ("3-s1-10000", started(5, 2, 20), Some("5-s2-20000 started")),
            ("4-q1", started(5, 2, 20), Some("5-s2-20000 started")),
            ("5-s2-20000", queued(4, 1), None),
            ("5-s2-20000", revoked(9), Some("9-e revoked")),
            // Of a bucket that was restored from an older copy.
            ("50-s2-20000", revoked(9), Some("9-e revoked")),
            ("9-e", revoked(9), None),
        ];
        for (seen, present, expected) in cases {
            let shown = events(Some(seen), [present]);
            assert_eq!(shown, Vec::from_iter(expected), "after {seen}");
        }
    }

    #[test]
    fn an_id_survives_its_text_and_other_texts_are_none() {
        for text in ["0-q0", "7-r1", "8-s2-1700000000000", "8-s2--5", "18446744073709551615-e"] {
            assert_eq!(text.parse::<EventId>().unwrap().to_string(), text);
        }
        for text in ["", "-", "7", "7-", "7-x1", "7-q", "7-s1", "-1-e", "7-ee", "q0-7", "7-s1-1-"] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }
}
