//! What the comparisons of many pictures say of two models.

use std::collections::BTreeMap;

use domain::{ClassCounts, Comparison, Confusion, ModelComparison, ModelName, Sha256Digest};
use serde::Serialize;

/// How many of the most different pictures are named.
const MOST_DIFFERENT: usize = 10;

/// A version of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Version {
    pub(super) model: ModelName,
    pub(super) digest: Sha256Digest,
}

/// One picture that both models were run on.
pub(super) struct Compared {
    /// The path of its file, or the id of its task.
    pub(super) picture: String,
    pub(super) a_ms: f32,
    pub(super) b_ms: f32,
    pub(super) comparison: Comparison,
}

impl From<ModelComparison> for Compared {
    fn from(stored: ModelComparison) -> Self {
        let ModelComparison { task_id, a, b, comparison, .. } = stored;
        Self { picture: task_id.to_string(), a_ms: a.infer_ms, b_ms: b.infer_ms, comparison }
    }
}

/// What the comparisons say together.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) a: ModelSummary,
    pub(super) b: ModelSummary,
    pub(super) pictures: usize,
    /// Pictures without a disputed object.
    pub(super) equal_pictures: usize,
    /// Objects that both find.
    pub(super) matched: u64,
    /// Objects that only one of them finds, or of which they name different classes.
    pub(super) disputed: u64,
    /// The share of `matched` in all objects; 1 without any.
    pub(super) agreement: f64,
    /// Of the objects that both find: the mean intersection over union.
    pub(super) mean_iou: f64,
    /// The mean absolute difference of their scores.
    pub(super) mean_score_difference: f64,
    /// Most disputed first.
    pub(super) classes: Vec<ClassSummary>,
    /// Most frequent first.
    pub(super) confusions: Vec<Confusion>,
    /// Those with the most disputed objects.
    pub(super) most_different: Vec<DisputedPicture>,
}

/// One of the models.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct ModelSummary {
    #[serde(flatten)]
    pub(super) version: Version,
    /// Objects that it finds and the other does not.
    pub(super) only: u64,
    /// The time of the model for a picture, in milliseconds.
    pub(super) median_ms: f32,
    pub(super) p95_ms: f32,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct ClassSummary {
    pub(super) class: String,
    #[serde(flatten)]
    pub(super) counts: ClassCounts,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct DisputedPicture {
    pub(super) picture: String,
    pub(super) disputed: u32,
}

impl Summary {
    pub(super) fn of(a: Version, b: Version, compared: &[Compared]) -> Self {
        let sum = |count: fn(&Comparison) -> u32| {
            compared.iter().map(|one| u64::from(count(&one.comparison))).sum::<u64>()
        };
        let (matched, disputed) = (sum(Comparison::matched), sum(Comparison::disputed));
        let mean = |value: fn(&Comparison) -> f32| {
            let of_picture = |one: &Compared| {
                f64::from(value(&one.comparison)) * f64::from(one.comparison.matched())
            };
            ratio(compared.iter().map(of_picture).sum(), matched as f64)
        };
        let of_model = |version, only, ms: fn(&Compared) -> f32| {
            let mut times: Vec<f32> = compared.iter().map(ms).collect();
            times.sort_by(f32::total_cmp);
            let (median_ms, p95_ms) = (percentile(&times, 50), percentile(&times, 95));
            ModelSummary { version, only, median_ms, p95_ms }
        };
        let all = (matched + disputed) as f64;
        Self {
            a: of_model(a, sum(Comparison::only_a), |one| one.a_ms),
            b: of_model(b, sum(Comparison::only_b), |one| one.b_ms),
            pictures: compared.len(),
            equal_pictures: compared.iter().filter(|one| one.comparison.disputed() == 0).count(),
            matched,
            disputed,
            agreement: if all > 0.0 { matched as f64 / all } else { 1.0 },
            mean_iou: mean(|comparison| comparison.mean_iou),
            mean_score_difference: mean(|comparison| comparison.mean_score_difference),
            classes: classes(compared),
            confusions: confusions(compared),
            most_different: most_different(compared),
        }
    }
}

fn classes(compared: &[Compared]) -> Vec<ClassSummary> {
    let mut sums = BTreeMap::<&str, ClassCounts>::new();
    for (class, counts) in compared.iter().flat_map(|one| &one.comparison.classes) {
        let sum = sums.entry(class).or_default();
        sum.matched = sum.matched.saturating_add(counts.matched);
        sum.only_a = sum.only_a.saturating_add(counts.only_a);
        sum.only_b = sum.only_b.saturating_add(counts.only_b);
    }
    let named =
        sums.into_iter().map(|(class, counts)| ClassSummary { class: class.to_owned(), counts });
    let mut classes: Vec<_> = named.collect();
    // Those with equal counts stay in the order of their names.
    classes.sort_by_key(|class| std::cmp::Reverse((class.counts.disputed(), class.counts.matched)));
    classes
}

fn confusions(compared: &[Compared]) -> Vec<Confusion> {
    let mut sums = BTreeMap::<(&str, &str), u32>::new();
    for Confusion { a, b, count } in compared.iter().flat_map(|one| &one.comparison.confusions) {
        let sum = sums.entry((a.as_str(), b.as_str())).or_default();
        *sum = sum.saturating_add(*count);
    }
    let named = sums.into_iter().map(|((a, b), count)| Confusion {
        a: a.to_owned(),
        b: b.to_owned(),
        count,
    });
    let mut confusions: Vec<_> = named.collect();
    confusions.sort_by_key(|confusion| std::cmp::Reverse(confusion.count));
    confusions
}

fn most_different(compared: &[Compared]) -> Vec<DisputedPicture> {
    let disputed = compared.iter().map(|one| DisputedPicture {
        picture: one.picture.clone(),
        disputed: one.comparison.disputed(),
    });
    let mut disputed: Vec<_> = disputed.filter(|picture| picture.disputed > 0).collect();
    disputed.sort_by_key(|picture| std::cmp::Reverse(picture.disputed));
    disputed.truncate(MOST_DIFFERENT);
    disputed
}

/// The value that so many percent of the sorted values do not exceed; 0 without any.
fn percentile(sorted: &[f32], percent: usize) -> f32 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or_default()
}

fn ratio(part: f64, all: f64) -> f64 {
    if all > 0.0 { part / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(model: &str) -> Version {
        Version { model: model.parse().unwrap(), digest: [7; 32].into() }
    }

    fn compared(picture: &str, classes: &[(&str, [u32; 3])], ms: f32) -> Compared {
        let counts = |[matched, only_a, only_b]: [u32; 3]| ClassCounts { matched, only_a, only_b };
        let classes = classes.iter().map(|(class, found)| ((*class).to_owned(), counts(*found)));
        let comparison = Comparison {
            mean_iou: 0.5,
            mean_score_difference: 0.1 * ms,
            classes: classes.collect(),
            confusions: Vec::new(),
        };
        Compared { picture: picture.to_owned(), a_ms: ms, b_ms: 10.0 * ms, comparison }
    }

    #[test]
    fn pictures_are_summed_up_and_weighted_by_their_objects() {
        let mut confused = compared("3", &[], 3.0);
        confused.comparison.confusions =
            vec![Confusion { a: "cat".to_owned(), b: "dog".to_owned(), count: 2 }];
        let pictures = [
            compared("1", &[("bus", [3, 0, 0]), ("person", [1, 0, 0])], 1.0),
            compared("2", &[("bus", [0, 1, 0]), ("person", [2, 2, 1])], 2.0),
            confused,
        ];
        let summary = Summary::of(version("a"), version("b"), &pictures);
        assert_eq!((summary.pictures, summary.equal_pictures), (3, 1));
        assert_eq!((summary.matched, summary.disputed), (6, 6));
        assert_eq!((summary.a.only, summary.b.only), (3, 1));
        assert_eq!(summary.agreement, 0.5);
        assert!((summary.mean_iou - 0.5).abs() < 1e-6, "{summary:?}");
        // (4 × 0.1 + 2 × 0.2) / 6
        assert!((summary.mean_score_difference - 0.8 / 6.0).abs() < 1e-6, "{summary:?}");
        let classes: Vec<_> = summary.classes.iter().map(|class| class.class.as_str()).collect();
        assert_eq!(classes, ["person", "bus"]);
        assert_eq!(summary.confusions, pictures[2].comparison.confusions);
        let different: Vec<_> =
            summary.most_different.iter().map(|one| (one.picture.as_str(), one.disputed)).collect();
        assert_eq!(different, [("2", 4), ("3", 2)]);
        assert_eq!((summary.a.median_ms, summary.b.p95_ms), (2.0, 30.0));
    }

    #[test]
    fn pictures_without_objects_agree() {
        let summary = Summary::of(version("a"), version("b"), &[compared("1", &[], 1.0)]);
        assert_eq!((summary.agreement, summary.mean_iou, summary.equal_pictures), (1.0, 0.0, 1));
        assert!(summary.most_different.is_empty());
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f32> = (1..=100_u8).map(f32::from).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 95)), (50.0, 95.0));
        assert_eq!((percentile(&values[..1], 95), percentile(&[], 95)), (1.0, 0.0));
    }
}
