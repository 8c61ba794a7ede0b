//! How fast tasks come and end, from totals that only grow.

use std::collections::VecDeque;

use client::Operations;
use time::OffsetDateTime;

/// Over how many seconds rates are averaged: APIs report their totals every few seconds.
const RATE_SECONDS: f64 = 10.0;

/// Snapshots further apart than this, in seconds, have a gap between them: the connection was lost.
const GAP_SECONDS: f64 = 5.0;

/// How many rates are kept to be plotted.
const PLOTTED: usize = 300;

/// The totals of the last seconds, and the rates of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Rates {
    points: VecDeque<Point>,
    /// Tasks that ended a second, the newest last.
    pub(super) plotted: VecDeque<f64>,
}

#[derive(Debug)]
struct Point {
    at: OffsetDateTime,
    accepted: u64,
    ended: u64,
    /// Whose totals these are.
    processes: Vec<(String, OffsetDateTime)>,
}

impl Rates {
    pub(super) fn add(&mut self, snapshot: &Operations) {
        let workers = snapshot.workers.iter().map(|worker| (&worker.name, worker.started_at));
        let apis = snapshot.apis.iter().map(|api| (&api.name, api.started_at));
        let point = Point {
            at: snapshot.at,
            accepted: snapshot.tasks.accepted,
            ended: snapshot.tasks.ended(),
            processes: workers.chain(apis).map(|(name, at)| (name.clone(), at)).collect(),
        };
        self.points.retain(|earlier| {
            (0.0..=RATE_SECONDS).contains(&(point.at - earlier.at).as_seconds_f64())
        });
        self.points.push_back(point);
        self.plotted.push_back(self.ended().unwrap_or(0.0));
        if self.plotted.len() > PLOTTED {
            self.plotted.pop_front();
        }
    }

    /// Tasks that were accepted, a second; `None` where it is not known yet.
    pub(super) fn accepted(&self) -> Option<f64> {
        self.growth(|point| point.accepted)
    }

    /// Tasks that ended, a second.
    pub(super) fn ended(&self) -> Option<f64> {
        self.growth(|point| point.ended)
    }

    /// A process that begins or ends brings its own totals, or takes them away: that is no growth.
    fn growth(&self, total: impl Fn(&Point) -> u64) -> Option<f64> {
        let (mut growth, mut seconds) = (0, 0.0);
        for (before, after) in self.points.iter().zip(self.points.iter().skip(1)) {
            let between = (after.at - before.at).as_seconds_f64();
            if before.processes == after.processes && between <= GAP_SECONDS {
                growth += total(after).saturating_sub(total(before));
                seconds += between;
            }
        }
        (seconds > 0.0).then(|| growth as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    /// The recorded snapshot, so many seconds later.
    fn snapshot(seconds: i64, accepted: u64, worker: &str) -> Operations {
        let mut snapshot: Operations = serde_json::from_str(include_str!("recorded.json")).unwrap();
        snapshot.at += Duration::seconds(seconds);
        snapshot.tasks.accepted = accepted;
        snapshot.workers[0].name = worker.to_owned();
        snapshot
    }

    #[test]
    fn a_rate_is_the_growth_of_the_last_ten_seconds() {
        let mut rates = Rates::default();
        rates.add(&snapshot(0, 1_000, "a"));
        assert_eq!(rates.accepted(), None);
        for second in 1..=20 {
            rates.add(&snapshot(second, 1_000 + 3 * second.unsigned_abs(), "a"));
        }
        assert_eq!((rates.accepted(), rates.ended()), (Some(3.0), Some(0.0)));
        assert_eq!((rates.points.len(), rates.plotted.len()), (11, 21));
    }

    #[test]
    fn the_totals_of_another_process_are_no_growth() {
        let mut rates = Rates::default();
        for (second, accepted, worker) in [(0, 10, "a"), (1, 12, "a"), (2, 900, "b"), (3, 902, "b")]
        {
            rates.add(&snapshot(second, accepted, worker));
        }
        assert_eq!(rates.accepted(), Some(2.0));
        // The connection was lost for some seconds.
        rates.add(&snapshot(9, 5_000, "b"));
        assert_eq!(rates.accepted(), Some(2.0));
    }
}
