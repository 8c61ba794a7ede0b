//! Boxes with one score and the number of a class, as heads give them that pick the class themselves.

use domain::{ClassId, ConfidenceThreshold};

use super::declared::MOST_CLASSES;
use crate::{input_box::InputBox, postprocess::candidate::Candidate};

/// A box of an output.
pub(super) struct NamedBox {
    /// Left, top, right and bottom edge in pixels of the input.
    pub(super) corners: [f32; 4],
    /// The number of its class.
    pub(super) class: f32,
    pub(super) score: f32,
}

impl NamedBox {
    /// The candidate, if its score is above the threshold and its class is one.
    pub(super) fn above(self, threshold: ConfidenceThreshold) -> Option<Candidate> {
        let Self { corners: [x1, y1, x2, y2], class, score } = self;
        if score <= threshold.get() || score.is_nan() {
            return None;
        }
        let class_id = named_class(class)?;
        Some(Candidate { bbox: InputBox { x1, y1, x2, y2 }, class_id, score })
    }
}

/// The class that an output names by its number; `None` for what is no class.
fn named_class(value: f32) -> Option<ClassId> {
    let class = value.round();
    (0.0..MOST_CLASSES as f32).contains(&class).then_some(ClassId(class as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_number_that_a_description_has_names_for() {
        for (value, class) in
            [(0.0, Some(0)), (-0.0, Some(0)), (79.0, Some(79)), (65535.0, Some(65535))]
        {
            assert_eq!(named_class(value).map(|class| class.0), class, "{value}");
        }
        for value in [-1.0, 65536.0, f32::MAX, f32::NAN, f32::INFINITY] {
            assert_eq!(named_class(value), None, "{value}");
        }
    }
}
