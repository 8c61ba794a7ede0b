//! Non-maximum suppression: dropping boxes of the same object.

use domain::{DetectionSettings, IouThreshold, MaxDetections};

use crate::postprocess::candidate::Candidate;

/// The most candidates that are compared, best first: the reference's `max_nms`. With a threshold of
/// 0.001 a picture can have thousands of candidates.
pub const MAX_CANDIDATES: usize = 30_000;

/// Which boxes drop one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of the same class.
    EachClass,
    /// All.
    AllClasses,
}

/// How many boxes are dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suppression {
    /// How much two boxes may overlap.
    pub iou: IouThreshold,
    /// The most boxes that are kept.
    pub max_detections: MaxDetections,
    /// Which boxes drop one another.
    pub scope: Scope,
}

impl From<&DetectionSettings> for Suppression {
    fn from(settings: &DetectionSettings) -> Self {
        let scope = if settings.class_agnostic { Scope::AllClasses } else { Scope::EachClass };
        Self { iou: settings.iou, max_detections: settings.max_detections, scope }
    }
}

/// Keeps the best candidate and drops those that overlap it by more than the threshold and are of its class, where
/// the scope is that, then repeats this with the rest, until `max_detections` are kept.
///
/// The result is sorted by score, highest first; equal ones keep their order.
/// The method and its limits are those of
/// Ultralytics' `non_max_suppression`.
#[must_use]
pub fn non_maximum_suppression(
    candidates: &[Candidate],
    suppression: Suppression,
) -> Vec<Candidate> {
    let Suppression { iou, max_detections, scope } = suppression;
    let limit = usize::from(max_detections.get());
    let mut kept: Vec<Candidate> = Vec::with_capacity(limit.min(candidates.len()));
    let mut kept_of_class = ChainPerClass::default();
    for place in best_first(candidates) {
        if kept.len() == limit {
            break;
        }
        let candidate = candidates[place];
        let class = match scope {
            Scope::EachClass => candidate.class_id.0 as usize,
            Scope::AllClasses => 0,
        };
        let is_covered =
            kept_of_class.places(class).any(|place| overlaps(&kept[place], &candidate, iou));
        if !is_covered {
            kept_of_class.push(class);
            kept.push(candidate);
        }
    }
    kept
}

/// The best candidates, of a model that gives each object once: sorted by score, highest first; equal ones keep their
/// order.
#[must_use]
pub fn best(candidates: &[Candidate], max_detections: MaxDetections) -> Vec<Candidate> {
    let limit = usize::from(max_detections.get());
    best_first(candidates).take(limit).map(|place| candidates[place]).collect()
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
    fn naive(candidates: &[Candidate], suppression: Suppression) -> Vec<Candidate> {
        let limit = usize::from(suppression.max_detections.get());
        let may_drop = |best: &Candidate, other: &Candidate| {
            suppression.scope == Scope::AllClasses || best.class_id == other.class_id
        };
        let mut left = candidates.to_vec();
        left.sort_by(|a, b| b.score.total_cmp(&a.score));
        left.truncate(MAX_CANDIDATES);
        let mut kept = Vec::new();
        while !left.is_empty() && kept.len() < limit {
            let best = left.remove(0);
            left.retain(|c| !may_drop(&best, c) || best.bbox.iou(&c.bbox) <= suppression.iou.get());
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

    fn suppression(iou: f32, max_detections: u16) -> Suppression {
        Suppression {
            iou: IouThreshold::new(iou).unwrap(),
            max_detections: max_detections.try_into().unwrap(),
            scope: Scope::EachClass,
        }
    }

    #[test]
    fn it_does_what_the_definition_says() {
        let mut random = StdRng::seed_from_u64(7);
        for round in 0..200 {
            let count = random.random_range(0..150);
            let candidates = random_candidates(&mut random, count);
            let iou = [0.0, 0.3, 0.7, 1.0][round % 4];
            let most = [1, 5, 300][round % 3];
            for scope in [Scope::EachClass, Scope::AllClasses] {
                let suppression = Suppression { scope, ..suppression(iou, most) };
                let kept = non_maximum_suppression(&candidates, suppression);
                assert_eq!(kept, naive(&candidates, suppression), "round {round}");
                let again = non_maximum_suppression(&kept, suppression);
                assert_eq!(again, kept, "round {round}: nothing is left to drop");
            }
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
        let kept = non_maximum_suppression(&candidates, suppression(0.0, 300));
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
        let kept = non_maximum_suppression(&candidates, suppression(0.7, 300));
        assert_eq!(kept, [candidates[count - 1]]);
    }
}
