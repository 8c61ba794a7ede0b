//! Non-maximum suppression: dropping boxes of the same object.

use domain::{IouThreshold, MaxDetections};

use crate::postprocess::candidate::Candidate;

/// The most candidates that are compared, best first: the reference's `max_nms`. With a threshold of
/// 0.001 a picture can have thousands of candidates.
pub const MAX_CANDIDATES: usize = 30_000;

/// Keeps the best candidate and drops those of its class that overlap it by more than `iou`, then
/// repeats this with the rest, until `max_detections` are kept.
///
/// The result is sorted by score, highest first; equal ones keep their order.
/// Boxes of different classes never drop one another. The method and its limits are those of
/// Ultralytics' `non_max_suppression`.
#[must_use]
pub fn non_maximum_suppression(
    candidates: &[Candidate],
    iou: IouThreshold,
    max_detections: MaxDetections,
) -> Vec<Candidate> {
    let limit = usize::from(max_detections.get());
    let mut kept: Vec<Candidate> = Vec::with_capacity(limit.min(candidates.len()));
    let mut kept_of_class = ChainPerClass::default();
    for place in best_first(candidates) {
        if kept.len() == limit {
            break;
        }
        let candidate = candidates[place];
        let class = candidate.class_id.0 as usize;
        let is_covered =
            kept_of_class.places(class).any(|place| overlaps(&kept[place], &candidate, iou));
        if !is_covered {
            kept_of_class.push(class);
            kept.push(candidate);
        }
    }
    kept
}

/// The indices of the best [`MAX_CANDIDATES`] candidates by score.
fn best_first(candidates: &[Candidate]) -> impl Iterator<Item = usize> {
    // Sorting integers is several times faster than sorting boxes by comparing floats: the bits of
    // floats that are not negative have the floats' order, and the index below them keeps equal ones
    // in their order.
    let mut keys: Vec<u64> = (0_u32..)
        .zip(candidates)
        .map(|(place, candidate)| {
            let worst_last = !candidate.score.max(0.0).to_bits();
            u64::from(worst_last) << 32 | u64::from(place)
        })
        .collect();
    if keys.len() > MAX_CANDIDATES {
        keys.select_nth_unstable(MAX_CANDIDATES);
        keys.truncate(MAX_CANDIDATES);
    }
    keys.sort_unstable();
    keys.into_iter().map(|key| (key & u64::from(u32::MAX)) as usize)
}

fn overlaps(kept: &Candidate, candidate: &Candidate, iou: IouThreshold) -> bool {
    let (a, b) = (&kept.bbox, &candidate.bbox);
    // Most pairs are disjoint, which four comparisons show without a division.
    let lie_apart = a.x2 <= b.x1 || b.x2 <= a.x1 || a.y2 <= b.y1 || b.y2 <= a.y1;
    !lie_apart && a.iou(b) > iou.get()
}

/// For each class, the indices of its kept boxes, linked from the newest to the oldest, without an
/// allocation per class.
#[derive(Default)]
struct ChainPerClass {
    newest: Vec<Option<usize>>,
    older: Vec<Option<usize>>,
}

impl ChainPerClass {
    fn places(&self, class: usize) -> impl Iterator<Item = usize> {
        let newest = self.newest.get(class).copied().flatten();
        std::iter::successors(newest, |&place| self.older[place])
    }

    /// Adds the next index, counted from 0, to `class`.
    fn push(&mut self, class: usize) {
        if self.newest.len() <= class {
            self.newest.resize(class + 1, None);
        }
        let place = self.older.len();
        self.older.push(self.newest[class].replace(place));
    }
}

#[cfg(test)]
mod tests {
    use domain::ClassId;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::input_box::InputBox;

    /// The definition, word for word: quadratic and obvious.
    fn naive(candidates: &[Candidate], iou: f32, limit: usize) -> Vec<Candidate> {
        let mut left = candidates.to_vec();
        left.sort_by(|a, b| b.score.total_cmp(&a.score));
        left.truncate(MAX_CANDIDATES);
        let mut kept = Vec::new();
        while !left.is_empty() && kept.len() < limit {
            let best = left.remove(0);
            left.retain(|c| c.class_id != best.class_id || best.bbox.iou(&c.bbox) <= iou);
            kept.push(best);
        }
        kept
    }

    fn random_candidates(random: &mut StdRng, count: usize) -> Vec<Candidate> {
        let candidate = |random: &mut StdRng| {
            let (x1, y1) = (random.random_range(0.0..200.0), random.random_range(0.0..200.0));
            let (x2, y2) =
                (x1 + random.random_range(0.0..120.0), y1 + random.random_range(0.0..120.0));
            Candidate {
                bbox: InputBox { x1, y1, x2, y2 },
                class_id: ClassId(random.random_range(0..4)),
                // Few different values, so that ties are common.
                score: random.random_range(0_u8..50) as f32 / 50.0,
            }
        };
        (0..count).map(|_| candidate(random)).collect()
    }

    fn limit(value: u16) -> MaxDetections {
        MaxDetections::try_from(value).unwrap()
    }

    #[test]
    fn it_does_what_the_definition_says() {
        let mut random = StdRng::seed_from_u64(7);
        for round in 0..200 {
            let count = random.random_range(0..150);
            let candidates = random_candidates(&mut random, count);
            let iou = [0.0, 0.3, 0.7, 1.0][round % 4];
            let most = [1, 5, 300][round % 3];
            let threshold = IouThreshold::new(iou).unwrap();
            let kept = non_maximum_suppression(&candidates, threshold, limit(most));
            assert_eq!(kept, naive(&candidates, iou, most.into()), "round {round}");
            let again = non_maximum_suppression(&kept, threshold, limit(most));
            assert_eq!(again, kept, "round {round}: nothing is left to drop");
        }
    }

    #[test]
    fn boxes_that_lie_apart_all_stay_best_first() {
        let candidates: Vec<Candidate> = (0..100_u16)
            .map(|i| {
                let x1 = f32::from(i) * 10.0;
                let bbox = InputBox { x1, y1: 0.0, x2: x1 + 10.0, y2: 10.0 };
                let score = f32::from(i) / 100.0;
                Candidate { bbox, class_id: ClassId(0), score }
            })
            .collect();
        let kept =
            non_maximum_suppression(&candidates, IouThreshold::new(0.0).unwrap(), limit(300));
        let reversed: Vec<Candidate> = candidates.into_iter().rev().collect();
        assert_eq!(kept, reversed);
    }

    #[test]
    fn only_so_many_candidates_are_looked_at() {
        // All alike but for their class, so each could be kept; the weakest come first.
        let count = MAX_CANDIDATES + 100;
        let candidates: Vec<Candidate> = (0..count)
            .map(|i| Candidate {
                bbox: InputBox { x1: 0.0, y1: 0.0, x2: 1.0, y2: 1.0 },
                // Only the hundred weakest are of class 1.
                class_id: ClassId(u32::from(i < 100)),
                score: i as f32 / count as f32,
            })
            .collect();
        let kept = non_maximum_suppression(&candidates, IouThreshold::default(), limit(300));
        assert_eq!(kept, [candidates[count - 1]]);
    }
}
