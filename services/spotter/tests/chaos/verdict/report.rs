//! The table that a scenario prints.

use std::{collections::BTreeMap, fmt, time::Duration};

use domain::TaskId;

use crate::verdict::{
    checker::Webhook,
    history::{CALM, Observed},
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
        webhooks: &BTreeMap<TaskId, Webhook>,
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
        Self { rows, drained, webhooks: Webhooks::count(webhooks) }
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
        write!(
            f,
            "the queue was empty {:.1} s after the load had stopped",
            self.drained.as_secs_f64()
        )
    }
}
