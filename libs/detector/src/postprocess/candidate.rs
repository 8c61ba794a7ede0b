//! The output of a head, before non-maximum suppression.

use domain::ClassId;

use crate::input_box::InputBox;

/// A possible object, decoded by a head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its box in the model's input.
    pub bbox: InputBox,
    /// The class with the highest score.
    pub class_id: ClassId,
    /// That score, from 0 to 1.
    pub score: f32,
}

impl Candidate {
    /// Whether its score and its box are finite.
    pub(crate) fn is_finite(&self) -> bool {
        self.score.is_finite() && self.bbox.sides().iter().all(|side| side.is_finite())
    }
}
