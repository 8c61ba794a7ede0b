//! The table that a scenario prints.

use std::{collections::BTreeMap, fmt, time::Duration};

use domain::TaskId;

use crate::verdict::{
    history::{CALM, Observed, Strangers},
    webhook::{FoundWebhooks, Webhook},
};

/// The outcomes of the pictures that were submitted during one fault.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Row {
    /// How often the fault was injected.
    pub(crate) times: u32,
    pub(crate) accepted: u64,
    pub(crate) success: u64,
    pub(crate) failure: u64,
    /// Any other terminal state.
    pub(crate) other: u64,
    /// Runs of the model beyond the first of each task.
    pub(crate) duplicates: u64,
    /// Submissions answered with 503.
    pub(crate) refused: u64,
    /// Submissions whose connection was refused or broken.
    pub(crate) unanswered: u64,
    /// The longest time from a 202 to its terminal state.
    pub(crate) longest: Duration,
}

/// A row for each fault, and their sum.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) rows: BTreeMap<&'static str, Row>,
    /// From the end of the load to the empty queue.
    drained: Duration,
    webhooks: Webhooks,
    batches: Batches,
    strangers: Strangers,
}

/// What became of the batches, by their numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Batches {
    /// Those that were received to their end.
    pub(crate) whole: u64,
    /// Of those, the ones that were sent more than once.
    pub(crate) continued: u64,
    /// Those that broke off and were not continued.
    pub(crate) broken_off: u64,
    pub(crate) cancelled: u64,
    /// Their pictures that have a task.
    pub(crate) accepted: u64,
    /// Those whose end was reported.
    pub(crate) reported: u64,
}

/// What became of the webhooks, by numbers of tasks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Webhooks {
    pub(crate) taken: u64,
    /// Of those, taken more than once.
    pub(crate) repeated: u64,
    pub(crate) dead: u64,
}

impl Report {
    pub(crate) fn new(
        observed: &Observed,
        runs: &BTreeMap<TaskId, u32>,
        webhooks: &FoundWebhooks,
        injections: &BTreeMap<&'static str, u32>,
        drained: Duration,
    ) -> Self {
        let mut rows: BTreeMap<&'static str, Row> = BTreeMap::new();
        for (fault, times) in injections {
            rows.entry(fault).or_default().times = *times;
        }
        for (id, task) in &observed.accepted {
            let row = rows.entry(task.fault).or_default();
            row.accepted += 1;
            match task.first.as_ref().map(|(end, _)| end.state()) {
                Some("SUCCESS") => row.success += 1,
                Some("FAILURE") => row.failure += 1,
                Some(_) => row.other += 1,
                None => {}
            }
            row.duplicates += u64::from(runs.get(id).map_or(0, |runs| runs.saturating_sub(1)));
            row.longest = row.longest.max(task.took().unwrap_or_default());
        }
        for (fault, refused) in &observed.refused {
            rows.entry(fault).or_default().refused += refused;
        }
        for (fault, unanswered) in &observed.unanswered {
            rows.entry(fault).or_default().unanswered += unanswered;
        }
        let batches = Batches::count(observed, webhooks);
        let webhooks = Webhooks::count(&webhooks.tasks);
        Self { rows, drained, webhooks, batches, strangers: observed.strangers }
    }

    pub(crate) fn batches(&self) -> Batches {
        self.batches
    }

    pub(crate) fn strangers(&self) -> Strangers {
        self.strangers
    }

    pub(crate) fn webhooks(&self) -> Webhooks {
        self.webhooks
    }

    pub(crate) fn total(&self) -> Row {
        self.rows.values().fold(Row::default(), |sum, row| Row {
            times: sum.times + row.times,
            accepted: sum.accepted + row.accepted,
            success: sum.success + row.success,
            failure: sum.failure + row.failure,
            other: sum.other + row.other,
            duplicates: sum.duplicates + row.duplicates,
            refused: sum.refused + row.refused,
            unanswered: sum.unanswered + row.unanswered,
            longest: sum.longest.max(row.longest),
        })
    }
}

impl Batches {
    fn count(observed: &Observed, webhooks: &FoundWebhooks) -> Self {
        let mut counts = Self::default();
        for batch in observed.batches.values() {
            let Some((end, _)) = &batch.end else { continue };
            let is_continued = batch.times_sent.is_some_and(|times| times > 1);
            match (end.cancelled, &end.interruption) {
                (true, _) => counts.cancelled += 1,
                (false, Some(_)) => counts.broken_off += 1,
                (false, None) => {
                    counts.whole += 1;
                    counts.continued += u64::from(is_continued);
                }
            }
            counts.accepted += u64::from(end.counts.accepted());
        }
        counts.reported = webhooks.taken_batches.len() as u64;
        counts
    }
}

impl Webhooks {
    fn count(webhooks: &BTreeMap<TaskId, Webhook>) -> Self {
        let mut counts = Self::default();
        for webhook in webhooks.values() {
            match webhook {
                Webhook::Taken(times) => {
                    counts.taken += 1;
                    counts.repeated += u64::from(*times > 1);
                }
                Webhook::Dead => counts.dead += 1,
                Webhook::None | Webhook::Lost => {}
            }
        }
        counts
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<20} {:>5} {:>8} {:>8} {:>8} {:>6} {:>10} {:>8} {:>10} {:>9}",
            "fault",
            "times",
            "accepted",
            "SUCCESS",
            "FAILURE",
            "other",
            "duplicates",
            "refused",
            "unanswered",
            "longest"
        )?;
        let total = self.total();
        let calm_last = self.rows.iter().filter(|(name, _)| **name != CALM);
        let calm = self.rows.get_key_value(CALM);
        for (name, row) in calm_last.chain(calm).chain([(&"all", &total)]) {
            writeln!(
                f,
                "{name:<20} {:>5} {:>8} {:>8} {:>8} {:>6} {:>10} {:>8} {:>10} {:>7.1} s",
                row.times,
                row.accepted,
                row.success,
                row.failure,
                row.other,
                row.duplicates,
                row.refused,
                row.unanswered,
                row.longest.as_secs_f64()
            )?;
        }
        let Webhooks { taken, repeated, dead } = self.webhooks;
        writeln!(f, "webhooks: {taken} taken, {repeated} of them more than once, {dead} given up")?;
        let Batches { whole, continued, broken_off, cancelled, accepted, reported } = self.batches;
        writeln!(
            f,
            "batches: {whole} whole, {continued} of them sent more than once, {broken_off} broken off, {cancelled} \
             cancelled; {accepted} pictures accepted; {reported} ends taken"
        )?;
        let Strangers { unseen, after_a_restart, refused } = self.strangers;
        writeln!(
            f,
            "other keys: {unseen} requests told nothing, {after_a_restart} of them right after a restart; {refused} \
             with a revoked key were refused"
        )?;
        write!(
            f,
            "the queue was empty {:.1} s after the load had stopped",
            self.drained.as_secs_f64()
        )
    }
}
