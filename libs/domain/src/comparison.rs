//! How the objects that two models find in one picture differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{DetectedObject, ModelName, Sha256Digest, TaskId};

/// Boxes whose intersection over union is at least this are taken for the same object.
pub const SAME_OBJECT_IOU: f32 = 0.5;

/// How the objects that model A and model B find in one picture differ.
///
/// Objects are paired one to one, those that overlap most first: at first those of one class (by its name, without
/// regard to ASCII case), then what is left, whatever its class.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// The mean intersection over union of the pairs of one class; 0 without any.
    pub mean_iou: f32,
    /// The mean absolute difference of their scores; 0 without any.
    pub mean_score_difference: f32,
    /// What was found of each class, by its name: that of A where both have it.
    pub classes: BTreeMap<String, ClassCounts>,
    /// Pairs of different classes.
    pub confusions: Vec<Confusion>,
}

/// What two models find of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClassCounts {
    /// Objects that both find.
    pub matched: u32,
    /// Objects that only A finds.
    pub only_a: u32,
    /// Objects that only B finds.
    pub only_b: u32,
}

/// Objects at the same place, of which the models name different classes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// The class by A.
    pub a: String,
    /// The class by B.
    pub b: String,
    /// How many there are.
    pub count: u32,
}

/// One model's run on the picture of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparedRun {
    /// The model.
    pub model: ModelName,
    /// The digest of the version that was run.
    pub digest: Sha256Digest,
    /// The time of the model, without the picture's decoding, in milliseconds.
    pub infer_ms: f32,
}

/// What two models find in the picture of a task. It has nothing of the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelComparison {
    /// The task, whose result is that of A.
    pub task_id: TaskId,
    /// When B was run.
    #[serde(with = "time::serde::rfc3339")]
    pub compared_at: OffsetDateTime,
    /// The run of the task.
    pub a: ComparedRun,
    /// The run beside it.
    pub b: ComparedRun,
    /// How the objects differ.
    #[serde(flatten)]
    pub comparison: Comparison,
}

impl ClassCounts {
    /// Objects that only one of the models finds.
    #[must_use]
    pub fn disputed(&self) -> u32 {
        self.only_a.saturating_add(self.only_b)
    }
}

impl Comparison {
    /// Compares what A and B find in one picture.
    #[must_use]
    pub fn of(a: &[DetectedObject], b: &[DetectedObject]) -> Self {
        let mut rest = Unpaired { a: a.iter().collect(), b: b.iter().collect() };
        let matched = rest.take_pairs(is_of_one_class);
        let confused = rest.take_pairs(|_, _| true);
        let mut this = Self {
            mean_iou: mean(matched.iter().map(|pair| pair.iou)),
            mean_score_difference: mean(matched.iter().map(Pair::score_difference)),
            ..Self::default()
        };
        for pair in &matched {
            this.class(&pair.a.label).matched += 1;
        }
        for object in rest.a {
            this.class(&object.label).only_a += 1;
        }
        for object in rest.b {
            this.class(&object.label).only_b += 1;
        }
        for pair in &confused {
            this.note_confusion(pair);
        }
        this
    }

    /// Objects that both models find, of one class.
    #[must_use]
    pub fn matched(&self) -> u32 {
        self.classes.values().map(|counts| counts.matched).sum()
    }

    /// Objects that only A finds.
    #[must_use]
    pub fn only_a(&self) -> u32 {
        self.classes.values().map(|counts| counts.only_a).sum()
    }

    /// Objects that only B finds.
    #[must_use]
    pub fn only_b(&self) -> u32 {
        self.classes.values().map(|counts| counts.only_b).sum()
    }

    /// Objects of which the models name different classes.
    #[must_use]
    pub fn confused(&self) -> u32 {
        self.confusions.iter().map(|confusion| confusion.count).sum()
    }

    /// Objects that only one of the models finds, or of which they name different classes.
    #[must_use]
    pub fn disputed(&self) -> u32 {
        self.only_a() + self.only_b() + self.confused()
    }

    /// The counts of a class. Its name is that of the first object, whatever the case of others.
    fn class(&mut self, label: &str) -> &mut ClassCounts {
        let known = self.classes.keys().find(|known| known.eq_ignore_ascii_case(label));
        let name = known.cloned().unwrap_or_else(|| label.to_owned());
        self.classes.entry(name).or_default()
    }

    fn note_confusion(&mut self, pair: &Pair<'_>) {
        let (a, b) = (&pair.a.label, &pair.b.label);
        match self.confusions.iter_mut().find(|known| known.a == *a && known.b == *b) {
            Some(known) => known.count += 1,
            None => self.confusions.push(Confusion { a: a.clone(), b: b.clone(), count: 1 }),
        }
    }
}

/// The objects that have no counterpart yet.
struct Unpaired<'a> {
    a: Vec<&'a DetectedObject>,
    b: Vec<&'a DetectedObject>,
}

/// Two objects that are taken for the same one.
struct Pair<'a> {
    a: &'a DetectedObject,
    b: &'a DetectedObject,
    iou: f32,
}

impl Pair<'_> {
    fn score_difference(&self) -> f32 {
        (self.a.detection.confidence - self.b.detection.confidence).abs()
    }
}

impl<'a> Unpaired<'a> {
    /// Takes out pairs that `may_pair`, those that overlap most first.
    fn take_pairs(
        &mut self,
        may_pair: impl Fn(&DetectedObject, &DetectedObject) -> bool,
    ) -> Vec<Pair<'a>> {
        let mut candidates = Vec::new();
        for (place_a, a) in self.a.iter().enumerate() {
            for (place_b, b) in self.b.iter().enumerate() {
                let iou = a.detection.bbox.iou(&b.detection.bbox);
                if iou >= SAME_OBJECT_IOU && may_pair(a, b) {
                    candidates.push((iou, place_a, place_b));
                }
            }
        }
        // Among equal ones the first are those with the highest scores.
        candidates.sort_by(|(one, ..), (other, ..)| other.total_cmp(one));
        let mut is_paired_a = vec![false; self.a.len()];
        let mut is_paired_b = vec![false; self.b.len()];
        let mut pairs = Vec::new();
        for (iou, place_a, place_b) in candidates {
            if !is_paired_a[place_a] && !is_paired_b[place_b] {
                is_paired_a[place_a] = true;
                is_paired_b[place_b] = true;
                pairs.push(Pair { a: self.a[place_a], b: self.b[place_b], iou });
            }
        }
        retain_unpaired(&mut self.a, &is_paired_a);
        retain_unpaired(&mut self.b, &is_paired_b);
        pairs
    }
}

fn retain_unpaired(objects: &mut Vec<&DetectedObject>, is_paired: &[bool]) {
    let mut is_paired = is_paired.iter();
    objects.retain(|_| is_paired.next() == Some(&false));
}

fn is_of_one_class(a: &DetectedObject, b: &DetectedObject) -> bool {
    a.label.eq_ignore_ascii_case(&b.label)
}

fn mean(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let count = values.len();
    if count == 0 { 0.0 } else { values.sum::<f32>() / count as f32 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{BoundingBox, ClassId, Detection};

    /// An object whose box is 10 pixels wide and high and begins at `x`.
    fn object(label: &str, x: f32, confidence: f32) -> DetectedObject {
        let bbox = BoundingBox { x1: x, y1: 0.0, x2: x + 10.0, y2: 10.0 };
        let detection = Detection { bbox, class_id: ClassId(0), confidence };
        DetectedObject { detection, label: label.to_owned() }
    }

    fn counts(matched: u32, only_a: u32, only_b: u32) -> ClassCounts {
        ClassCounts { matched, only_a, only_b }
    }

    #[test]
    fn equal_results_have_nothing_disputed() {
        let objects = [object("bus", 0.0, 0.9), object("person", 50.0, 0.8)];
        let compared = Comparison::of(&objects, &objects);
        assert_eq!((compared.matched(), compared.disputed()), (2, 0));
        assert_eq!((compared.mean_iou, compared.mean_score_difference), (1.0, 0.0));
        assert_eq!(Comparison::of(&[], &[]), Comparison::default());
    }

    #[test]
    fn what_only_one_model_finds_is_counted_by_class() {
        let a = [object("bus", 0.0, 0.9), object("person", 100.0, 0.5)];
        let b = [object("Bus", 2.0, 0.7), object("person", 200.0, 0.5), object("dog", 300.0, 0.5)];
        let compared = Comparison::of(&a, &b);
        let expected =
            [("bus", counts(1, 0, 0)), ("dog", counts(0, 0, 1)), ("person", counts(0, 1, 1))];
        let found: Vec<_> =
            compared.classes.iter().map(|(label, counts)| (label.as_str(), *counts)).collect();
        assert_eq!(found, expected);
        assert!((compared.mean_score_difference - 0.2).abs() < 1e-6, "{compared:?}");
        // 8 of 12 pixels of the width.
        assert!((compared.mean_iou - 2.0 / 3.0).abs() < 1e-6, "{compared:?}");
        assert_eq!((compared.only_a(), compared.only_b(), compared.confused()), (1, 2, 0));
    }

    #[test]
    fn another_class_at_the_same_place_is_a_confusion() {
        let a = [object("cat", 0.0, 0.9), object("cat", 100.0, 0.9)];
        let b = [object("dog", 0.0, 0.8), object("dog", 100.0, 0.8)];
        let compared = Comparison::of(&a, &b);
        let expected = Confusion { a: "cat".to_owned(), b: "dog".to_owned(), count: 2 };
        assert_eq!(compared.confusions, [expected]);
        assert_eq!((compared.matched(), compared.only_a(), compared.only_b()), (0, 0, 0));
        assert_eq!(compared.disputed(), 2);
    }

    #[test]
    fn each_object_has_one_counterpart_and_the_closest_one() {
        // The second of A overlaps the one of B more than the first does.
        let a = [object("bus", 3.0, 0.9), object("bus", 1.0, 0.8)];
        let compared = Comparison::of(&a, &[object("bus", 0.0, 0.8)]);
        assert_eq!(compared.classes["bus"], counts(1, 1, 0));
        assert_eq!(compared.mean_score_difference, 0.0);
        // A counterpart of the same class is preferred to one of another class that is closer.
        let b = [object("car", 0.0, 0.9), object("bus", 2.0, 0.9)];
        let compared = Comparison::of(&[object("bus", 0.0, 0.9)], &b);
        assert_eq!(compared.classes["bus"], counts(1, 0, 0));
        assert_eq!(compared.classes["car"], counts(0, 0, 1));
    }

    #[test]
    fn boxes_that_overlap_by_less_than_half_are_two_objects() {
        for (x, matched) in [(3.0, 1), (4.0, 0)] {
            let compared = Comparison::of(&[object("bus", 0.0, 0.9)], &[object("bus", x, 0.9)]);
            assert_eq!(
                (compared.matched(), compared.disputed()),
                (matched, 2 - 2 * matched),
                "{x}"
            );
        }
    }

    #[test]
    fn a_stored_comparison_has_nothing_of_the_picture() {
        let run = |model: &str| ComparedRun {
            model: model.parse().unwrap(),
            digest: [1; 32].into(),
            infer_ms: 1.5,
        };
        let stored = ModelComparison {
            task_id: TaskId::generate(),
            compared_at: OffsetDateTime::UNIX_EPOCH,
            a: run("a"),
            b: run("b"),
            comparison: Comparison::of(&[object("bus", 0.0, 0.5)], &[object("car", 0.0, 0.5)]),
        };
        let json = serde_json::to_value(&stored).unwrap();
        let names: BTreeSet<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = [
            "task_id",
            "compared_at",
            "a",
            "b",
            "classes",
            "confusions",
            "mean_iou",
            "mean_score_difference",
        ];
        assert_eq!(names, expected.into());
        assert_eq!(serde_json::from_value::<ModelComparison>(json).unwrap(), stored);
    }
}
