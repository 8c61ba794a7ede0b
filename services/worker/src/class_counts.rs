//! How many objects of each class were found, by confidence.

use std::collections::{BTreeMap, HashMap};

use domain::DetectedObject;
use messaging::CONFIDENCE_BINS;
use parking_lot::Mutex;

/// The most classes that are counted: those of some dozen models. Further ones are not.
const MOST_CLASSES: usize = 4096;

/// How many classes are told, the most frequent ones.
const MOST_TOLD: usize = 100;

/// The objects that this worker has found since it started.
#[derive(Default)]
pub(crate) struct ClassCounts(Mutex<HashMap<String, [u64; CONFIDENCE_BINS]>>);

impl ClassCounts {
    /// Counts the objects of one picture. Allocates only for classes that are seen for the first time.
    pub(crate) fn count(&self, objects: &[DetectedObject]) {
        let mut classes = self.0.lock();
        for DetectedObject { detection, label } in objects {
            let bin = bin(detection.confidence);
            if let Some(bins) = classes.get_mut(label.as_str()) {
                bins[bin] += 1;
            } else if classes.len() < MOST_CLASSES {
                let mut bins = [0; CONFIDENCE_BINS];
                bins[bin] = 1;
                classes.insert(label.clone(), bins);
            }
        }
    }

    /// The most frequent classes.
    pub(crate) fn most_frequent(&self) -> BTreeMap<String, [u64; CONFIDENCE_BINS]> {
        let mut all: Vec<_> =
            self.0.lock().iter().map(|(label, bins)| (label.clone(), *bins)).collect();
        all.sort_by_key(|(_, bins)| std::cmp::Reverse(bins.iter().sum::<u64>()));
        all.truncate(MOST_TOLD);
        all.into_iter().collect()
    }
}

/// The bin of a confidence, from 0 to 1.
fn bin(confidence: f32) -> usize {
    // The conversion saturates, also for what is no number.
    ((confidence * CONFIDENCE_BINS as f32) as usize).min(CONFIDENCE_BINS - 1)
}

#[cfg(test)]
mod tests {
    use domain::{BoundingBox, ClassId, Detection};

    use super::*;

    fn object(label: String, confidence: f32) -> DetectedObject {
        let bbox = BoundingBox { x1: 0.0, y1: 0.0, x2: 1.0, y2: 1.0 };
        let detection = Detection { bbox, class_id: ClassId(0), confidence };
        DetectedObject { detection, label }
    }

    #[test]
    fn objects_are_counted_by_class_and_confidence() {
        let counts = ClassCounts::default();
        let bus = |confidence| object("bus".to_owned(), confidence);
        counts.count(&[bus(0.25), bus(0.999), object("person".to_owned(), 0.3)]);
        counts.count(&[bus(1.0), bus(0.2)]);
        let found = counts.most_frequent();
        assert_eq!(found["bus"], [0, 0, 2, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(found["person"], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn there_are_no_more_classes_than_may_be_and_the_most_frequent_are_told() {
        let counts = ClassCounts::default();
        for number in 0..MOST_CLASSES + 5 {
            counts.count(&[object(format!("class {number}"), 0.5)]);
        }
        counts.count(&[object("class 7".to_owned(), 0.5)]);
        assert_eq!(counts.0.lock().len(), MOST_CLASSES);
        let told = counts.most_frequent();
        assert_eq!((told.len(), told["class 7"].iter().sum::<u64>()), (MOST_TOLD, 2));
    }
}
