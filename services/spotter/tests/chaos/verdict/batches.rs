//! Checks what clients observed of batches. Pure code, as `checker.rs`.
//!
//! Each batch ends after the faults have. Its counts add up to `received`, and are those of its results. These have a line
//! for each index, in order, with the task that follows from the id of the batch, or with why the picture was refused. No
//! picture of a batch is lost that was answered to be whole. The end of a batch with a callback is reported as it is
//! stored, or lies among the dead webhooks (I7).

use std::{collections::BTreeSet, time::Duration};

use domain::{BatchCounts, BatchId};

use super::{
    batch_view::{BatchView, ResultLine, ShownItem},
    webhook::Webhook,
};

/// The kind of problem of a picture whose batch broke off before it was stored.
const NOT_STORED: &str = "urn:problem-type:spotter:unavailable";

/// What is known of one batch at the end of the scenario.
#[derive(Debug, Clone)]
pub(crate) struct BatchEvidence {
    pub(crate) id: BatchId,
    /// How many pictures its client has sent.
    pub(crate) sent: u32,
    /// The indices of files among them that are no pictures.
    pub(crate) no_pictures: BTreeSet<u16>,
    /// Whether the API has answered that it has received all.
    pub(crate) is_whole: bool,
    /// Whether the API has answered that it is cancelled.
    pub(crate) is_cancelled: bool,
    /// Its end, and how long after the answer or the last heal, whichever is later.
    pub(crate) end: Option<(BatchView, Duration)>,
    /// Its results after that.
    pub(crate) lines: Vec<ResultLine>,
    /// Later observations that differ.
    pub(crate) others: Vec<String>,
    /// How often the API answered that there is no such batch.
    pub(crate) denied: u32,
    /// Observations at any time whose counts do not add up.
    pub(crate) miscounted: Vec<BatchView>,
    pub(crate) webhook: Webhook,
}

/// A violation of what batches promise.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum BatchViolation {
    NotFinished,
    FinishedLate(Duration),
    /// Its counts do not add up to `received`, or its end has pending pictures.
    Miscounted(BatchView),
    /// A later observation differs.
    Changed(String),
    Denied(u32),
    /// There are more or fewer lines of results than were received.
    Lines {
        received: u32,
        lines: usize,
    },
    /// Its counts are not those of its lines.
    OtherCounts {
        counts: BatchCounts,
        lines: BatchCounts,
    },
    /// The line at this place has another index.
    IndexMisplaced {
        place: usize,
        index: u64,
    },
    /// The picture has neither a task nor a refusal, or both, or another task.
    WrongItem(u16, ShownItem),
    /// A good picture of a batch without an interruption was refused.
    PictureRefused(u16, String),
    /// A file that is no picture has a task.
    NoPictureAccepted(u16),
    /// The API answered that it has received all, and later that it has not.
    NotWhole {
        sent: u32,
        received: u32,
    },
    /// The API answered that it is cancelled, and later that it is not.
    NotCancelled,
    /// I7.
    WebhookLost,
}

pub(crate) fn check_batch(batch: &BatchEvidence, finished_within: Duration) -> Vec<BatchViolation> {
    let miscounted = batch.miscounted.iter().cloned().map(BatchViolation::Miscounted);
    let changed = batch.others.iter().cloned().map(BatchViolation::Changed);
    let mut violations: Vec<_> = miscounted.chain(changed).collect();
    if batch.denied > 0 {
        violations.push(BatchViolation::Denied(batch.denied));
    }
    let Some((end, after)) = &batch.end else {
        violations.push(BatchViolation::NotFinished);
        return violations;
    };
    if *after > finished_within {
        violations.push(BatchViolation::FinishedLate(*after));
    }
    if !end.adds_up() {
        violations.push(BatchViolation::Miscounted(end.clone()));
    }
    // Cancelling ends the reception.
    if batch.is_whole && end.received != batch.sent && !end.cancelled {
        violations.push(BatchViolation::NotWhole { sent: batch.sent, received: end.received });
    }
    if batch.is_cancelled && !end.cancelled {
        violations.push(BatchViolation::NotCancelled);
    }
    if batch.webhook == Webhook::Lost {
        violations.push(BatchViolation::WebhookLost);
    }
    violations.extend(check_lines(batch, end));
    violations
}

fn check_lines(batch: &BatchEvidence, end: &BatchView) -> Vec<BatchViolation> {
    let mut violations = Vec::new();
    if batch.lines.len() != end.received as usize {
        let (received, lines) = (end.received, batch.lines.len());
        violations.push(BatchViolation::Lines { received, lines });
    }
    let mut lines = BatchCounts::default();
    for (place, line) in batch.lines.iter().enumerate() {
        *count(&mut lines, &line.item) += 1;
        match u16::try_from(line.index) {
            Ok(index) if usize::from(index) == place => {
                violations.extend(check_item(batch, end, index, &line.item));
            }
            _ => violations.push(BatchViolation::IndexMisplaced { place, index: line.index }),
        }
    }
    if lines != end.counts {
        violations.push(BatchViolation::OtherCounts { counts: end.counts, lines });
    }
    violations
}

fn check_item(
    batch: &BatchEvidence,
    end: &BatchView,
    index: u16,
    item: &ShownItem,
) -> Option<BatchViolation> {
    let is_picture = !batch.no_pictures.contains(&index);
    match item {
        ShownItem::Task { .. } if !is_picture => Some(BatchViolation::NoPictureAccepted(index)),
        ShownItem::Task { id, .. } if *id == batch.id.item(index) => None,
        ShownItem::Task { .. } | ShownItem::Unclear => {
            Some(BatchViolation::WrongItem(index, item.clone()))
        }
        ShownItem::Refused { kind } => {
            let was_not_stored = kind == NOT_STORED && end.interruption.is_some();
            (is_picture && !was_not_stored)
                .then(|| BatchViolation::PictureRefused(index, kind.clone()))
        }
    }
}

/// The count that this picture belongs to.
fn count<'a>(counts: &'a mut BatchCounts, item: &ShownItem) -> &'a mut u32 {
    match item {
        ShownItem::Refused { .. } | ShownItem::Unclear => &mut counts.refused,
        ShownItem::Task { state, .. } => match state.as_str() {
            "SUCCESS" => &mut counts.succeeded,
            "FAILURE" => &mut counts.failed,
            "REVOKED" => &mut counts.revoked,
            "EXPIRED" => &mut counts.expired,
            _ => &mut counts.pending,
        },
    }
}

mod controls {
    use domain::TaskId;

    use super::*;

    const BOUND: Duration = Duration::from_secs(60);
    const NO_PICTURE: u16 = 2;

    fn task(id: TaskId, state: &str) -> ShownItem {
        ShownItem::Task { id, state: state.to_owned() }
    }

    fn refused(kind: &str) -> ShownItem {
        ShownItem::Refused { kind: kind.to_owned() }
    }

    fn finished(counts: BatchCounts) -> BatchView {
        BatchView {
            state: "FINISHED".to_owned(),
            received: counts.accepted() + counts.refused,
            counts,
            cancelled: false,
            interruption: None,
            refused: Vec::new(),
        }
    }

    /// A batch of two pictures and a file that is none, without any violation.
    fn good() -> BatchEvidence {
        let id = BatchId::generate();
        let items = [task(id.item(0), "SUCCESS"), task(id.item(1), "REVOKED"), refused("other")];
        let counts = BatchCounts { succeeded: 1, revoked: 1, refused: 1, ..BatchCounts::default() };
        BatchEvidence {
            id,
            sent: 3,
            no_pictures: BTreeSet::from([NO_PICTURE]),
            is_whole: true,
            is_cancelled: false,
            end: Some((finished(counts), Duration::from_secs(1))),
            lines: (0..).zip(items).map(|(index, item)| ResultLine { index, item }).collect(),
            others: Vec::new(),
            denied: 0,
            miscounted: Vec::new(),
            webhook: Webhook::Taken(1),
        }
    }

    fn with_end(change: impl FnOnce(&mut BatchView)) -> BatchEvidence {
        let mut batch = good();
        change(&mut batch.end.as_mut().expect("it has ended").0);
        batch
    }

    fn with_item(index: usize, item: ShownItem) -> BatchEvidence {
        let mut batch = good();
        batch.lines[index].item = item;
        batch
    }

    fn violations(batch: &BatchEvidence) -> Vec<BatchViolation> {
        check_batch(batch, BOUND)
    }

    #[test]
    fn a_good_batch_passes() {
        assert_eq!(violations(&good()), []);
    }

    #[test]
    fn a_batch_without_an_end_or_with_a_late_one_is_reported() {
        let open = BatchEvidence { end: None, ..good() };
        assert_eq!(violations(&open), [BatchViolation::NotFinished]);
        let late = BOUND + Duration::from_secs(1);
        let mut slow = good();
        slow.end.as_mut().expect("it has ended").1 = late;
        assert_eq!(violations(&slow), [BatchViolation::FinishedLate(late)]);
    }

    #[test]
    fn counts_that_do_not_add_up_are_reported() {
        let lost = with_end(|end| end.counts.succeeded = 0);
        let (end, _) = lost.end.clone().expect("it has ended");
        let lines = good().end.expect("it has ended").0.counts;
        let other = BatchViolation::OtherCounts { counts: end.counts, lines };
        assert_eq!(violations(&lost), [BatchViolation::Miscounted(end.clone()), other]);
        let before = BatchEvidence { miscounted: vec![end.clone()], ..good() };
        assert_eq!(violations(&before), [BatchViolation::Miscounted(end)]);
        // They add up, and one has not ended.
        let pending = with_end(|end| (end.counts.succeeded, end.counts.pending) = (0, 1));
        assert!(matches!(violations(&pending)[0], BatchViolation::Miscounted(_)));
        let swapped = with_end(|end| (end.counts.succeeded, end.counts.failed) = (0, 1));
        assert!(matches!(violations(&swapped)[..], [BatchViolation::OtherCounts { .. }]));
    }

    #[test]
    fn an_index_that_is_absent_or_there_twice_is_reported() {
        let mut absent = good();
        absent.lines.remove(1);
        let found = violations(&absent);
        assert_eq!(found[0], BatchViolation::Lines { received: 3, lines: 2 });
        assert_eq!(found[1], BatchViolation::IndexMisplaced { place: 1, index: 2 });
        let mut twice = good();
        let line = twice.lines[1].clone();
        twice.lines.insert(1, line);
        let found = violations(&twice);
        assert_eq!(found[0], BatchViolation::Lines { received: 3, lines: 4 });
        assert_eq!(found[1], BatchViolation::IndexMisplaced { place: 2, index: 1 });
    }

    #[test]
    fn a_picture_with_neither_task_nor_refusal_or_with_another_task_is_reported() {
        let other = task(TaskId::generate(), "REVOKED");
        let wrong = with_item(1, other.clone());
        assert_eq!(violations(&wrong), [BatchViolation::WrongItem(1, other)]);
        let unclear = violations(&with_item(1, ShownItem::Unclear));
        assert_eq!(unclear[0], BatchViolation::WrongItem(1, ShownItem::Unclear));
        for line in ["{\"index\":0}", "{\"index\":0,\"task_id\":\"x\",\"error\":{}}"] {
            let line = ResultLine::parse(&serde_json::from_str(line).expect("it is JSON"));
            assert_eq!(line, Some(ResultLine { index: 0, item: ShownItem::Unclear }));
        }
    }

    #[test]
    fn a_lost_picture_of_a_whole_batch_is_reported() {
        let mut short = with_end(|end| (end.received, end.counts.refused) = (2, 0));
        short.lines.pop();
        assert_eq!(violations(&short), [BatchViolation::NotWhole { sent: 3, received: 2 }]);
        short.is_whole = false;
        assert_eq!(violations(&short), []);
        let is_refused = |kind: &str| {
            let mut batch = with_end(|end| (end.counts.revoked, end.counts.refused) = (0, 2));
            batch.lines[1].item = refused(kind);
            batch
        };
        let mut lost = is_refused(NOT_STORED);
        assert_eq!(violations(&lost), [BatchViolation::PictureRefused(1, NOT_STORED.to_owned())]);
        // One that broke off may have lost it, and says so.
        lost.end.as_mut().expect("it has ended").0.interruption = Some("it broke off".to_owned());
        assert_eq!(violations(&lost), []);
        lost.lines[1].item = refused("other");
        assert_eq!(violations(&lost), [BatchViolation::PictureRefused(1, "other".to_owned())]);
    }

    #[test]
    fn a_file_that_is_no_picture_and_has_a_task_is_reported() {
        let id = good().id;
        let found = violations(&with_item(2, task(id.item(2), "SUCCESS")));
        assert_eq!(found[0], BatchViolation::NoPictureAccepted(NO_PICTURE));
    }

    #[test]
    fn a_batch_that_is_denied_changed_or_not_cancelled_is_reported() {
        let denied = BatchEvidence { denied: 2, ..good() };
        assert_eq!(violations(&denied), [BatchViolation::Denied(2)]);
        let changed = BatchEvidence { others: vec!["RUNNING".to_owned()], ..good() };
        assert_eq!(violations(&changed), [BatchViolation::Changed("RUNNING".to_owned())]);
        let forgotten = BatchEvidence { is_cancelled: true, ..good() };
        assert_eq!(violations(&forgotten), [BatchViolation::NotCancelled]);
        let cancelled = with_end(|end| end.cancelled = true);
        assert_eq!(violations(&BatchEvidence { is_cancelled: true, ..cancelled }), []);
    }

    #[test]
    fn a_webhook_of_a_batch_that_was_neither_taken_nor_given_up_is_reported() {
        for webhook in [Webhook::None, Webhook::Taken(2), Webhook::Dead] {
            assert_eq!(violations(&BatchEvidence { webhook, ..good() }), []);
        }
        let lost = BatchEvidence { webhook: Webhook::Lost, ..good() };
        assert_eq!(violations(&lost), [BatchViolation::WebhookLost]);
        let (end, _) = good().end.expect("it has ended");
        let earlier = BatchView { received: 1, ..end.clone() };
        assert!(end.is_same_end(&end) && !end.is_same_end(&earlier));
        assert!(!end.is_same_end(&BatchView { state: "RUNNING".to_owned(), ..end.clone() }));
    }
}
