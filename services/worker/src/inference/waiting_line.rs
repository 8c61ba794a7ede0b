//! What waits for a slot, by priority.

use std::collections::VecDeque;

use domain::Priority;

/// How often higher priorities may go first while one waits: as often as a worker pulls other jobs before a low one.
const MOST_PASSES: usize = 9;

/// Items that wait: the highest priority first, and within a priority the one that has waited longest.
#[derive(Debug)]
pub(crate) struct WaitingLine<T> {
    lanes: [Lane<T>; Priority::ALL.len()],
}

/// The items of one priority.
#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    /// How often a higher priority has gone first since an item of this one did.
    passes: usize,
}

impl<T> Default for WaitingLine<T> {
    fn default() -> Self {
        let lane = || Lane { waiting: VecDeque::new(), passes: 0 };
        Self { lanes: [lane(), lane(), lane()] }
    }
}

impl<T> WaitingLine<T> {
    pub(crate) fn push(&mut self, priority: Priority, item: T) {
        self.lanes[priority as usize].waiting.push_back(item);
    }

    /// The item that is next.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let waits = |lane: &Lane<T>| !lane.waiting.is_empty();
        let is_due = |lane: &Lane<T>| waits(lane) && lane.passes >= MOST_PASSES;
        let next =
            self.lanes.iter().position(is_due).or_else(|| self.lanes.iter().position(waits))?;
        for lower in self.lanes.iter_mut().skip(next + 1) {
            lower.passes = if lower.waiting.is_empty() { 0 } else { lower.passes + 1 };
        }
        let lane = &mut self.lanes[next];
        lane.passes = 0;
        lane.waiting.pop_front()
    }

    /// The priority that waits and is the highest.
    pub(crate) fn highest(&self) -> Option<Priority> {
        Priority::ALL
            .into_iter()
            .find(|priority| !self.lanes[*priority as usize].waiting.is_empty())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.highest().is_none()
    }

    /// Drops the items that `keep` is false for.
    pub(crate) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for lane in &mut self.lanes {
            lane.waiting.retain(&keep);
        }
    }

    /// Offers all items to `take`, which returns those that it leaves. They keep their places.
    pub(crate) fn offer(&mut self, mut take: impl FnMut(T) -> Option<T>) {
        for lane in &mut self.lanes {
            lane.waiting = lane.waiting.drain(..).filter_map(&mut take).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use Priority::{High, Low, Normal};

    use super::*;

    fn line(items: &[(Priority, u32)]) -> WaitingLine<u32> {
        let mut line = WaitingLine::default();
        items.iter().for_each(|(priority, item)| line.push(*priority, *item));
        line
    }

    fn drain(mut line: WaitingLine<u32>) -> Vec<u32> {
        std::iter::from_fn(|| line.pop()).collect()
    }

    #[test]
    fn the_highest_priority_is_first_and_then_the_longest_wait() {
        let waiting = [(Low, 1), (Normal, 2), (High, 3), (Normal, 4), (High, 5), (Low, 6)];
        assert_eq!(drain(line(&waiting)), [3, 5, 2, 4, 1, 6]);
        assert_eq!(line(&waiting).highest(), Some(High));
        assert_eq!(line(&[]).pop(), None);
        assert!(line(&[]).is_empty());
    }

    #[test]
    fn no_priority_starves() {
        let mut line = line(&[(Normal, 1), (Normal, 2), (Low, 3), (Low, 4)]);
        let mut order = Vec::new();
        for _ in 0..40 {
            line.push(High, 0);
            order.extend(line.pop());
        }
        let places = [1, 2, 3, 4].map(|item| order.iter().position(|found| *found == item));
        assert_eq!(places, [Some(9), Some(20), Some(10), Some(21)]);
    }

    #[test]
    fn passes_are_not_counted_while_none_waits() {
        let mut line = line(&[]);
        for _ in 0..20 {
            line.push(High, 0);
            line.pop();
        }
        line.push(Low, 1);
        line.push(High, 2);
        assert_eq!(drain(line), [2, 1]);
    }

    #[test]
    fn an_item_that_is_not_taken_keeps_its_place() {
        let mut line = line(&[(Low, 1), (High, 2), (High, 3), (Low, 4), (High, 5)]);
        let mut offered = Vec::new();
        line.offer(|item| {
            offered.push(item);
            (item % 2 == 1).then_some(item)
        });
        assert_eq!(offered, [2, 3, 5, 1, 4]);
        line.retain(|item| *item != 5);
        assert_eq!(drain(line), [3, 1]);
    }
}
