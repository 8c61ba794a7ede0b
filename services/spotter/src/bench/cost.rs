//! CPU time per picture.

use std::{collections::BTreeMap, ops::AddAssign};

use super::processes::Usages;

/// CPU seconds by process, and the number of pictures they were spent on.
#[derive(Debug, Default)]
pub(super) struct Cost {
    cpu_s: BTreeMap<&'static str, f64>,
    pictures: usize,
}

impl Cost {
    /// What the services and servers spent between two moments.
    pub(super) fn between(pictures: usize, before: &Usages, after: &Usages) -> Self {
        let spent = after.iter().map(|(part, usage)| {
            let earlier = before.get(part).map_or(0.0, |usage| usage.cpu_s);
            (*part, usage.cpu_s - earlier)
        });
        Self { cpu_s: spent.collect(), pictures }
    }

    /// The detector's loop in this process.
    pub(super) fn of_detector(pictures: usize, cpu_s: f64) -> Self {
        Self { cpu_s: BTreeMap::from([("detector", cpu_s)]), pictures }
    }

    /// CPU milliseconds per picture, by process.
    pub(super) fn milliseconds(&self) -> BTreeMap<&'static str, f64> {
        let each =
            |(part, cpu_s): (&&'static str, &f64)| (*part, cpu_s * 1e3 / self.pictures as f64);
        self.cpu_s.iter().map(each).collect()
    }

    /// CPU milliseconds per picture of all processes together, beyond those of `other`.
    pub(super) fn beyond(&self, other: &Self) -> f64 {
        let total = |cost: &Self| cost.milliseconds().values().sum::<f64>();
        total(self) - total(other)
    }
}

impl AddAssign<&Cost> for Cost {
    fn add_assign(&mut self, other: &Cost) {
        self.pictures += other.pictures;
        for (part, cpu_s) in &other.cpu_s {
            *self.cpu_s.entry(part).or_default() += cpu_s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::processes::Usage;

    #[test]
    fn the_cost_beyond_the_detector_is_that_of_all_processes() {
        let usages = |worker: f64, nats: f64| -> Usages {
            let of = |cpu_s| Usage { cpu_s, ..Usage::default() };
            [("worker", of(worker)), ("NATS", of(nats))].into()
        };
        let through_queue = Cost::between(100, &usages(1.0, 0.5), &usages(4.5, 0.7));
        let each = through_queue.milliseconds();
        assert!(
            (each["worker"] - 35.0).abs() < 1e-9 && (each["NATS"] - 2.0).abs() < 1e-9,
            "{each:?}"
        );
        let detector = Cost::of_detector(50, 1.5);
        assert!((through_queue.beyond(&detector) - 7.0).abs() < 1e-9);
        let mut both = through_queue;
        both += &Cost::between(100, &usages(4.5, 0.7), &usages(7.0, 1.1));
        assert!((both.milliseconds()["worker"] - 30.0).abs() < 1e-9);
    }
}
