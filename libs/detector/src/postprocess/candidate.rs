//! What a head gives, before overlapping boxes are dropped.

use domain::ClassId;

use crate::input_box::InputBox;

/// An object as a head gives it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Where it is in the model's input.
    pub bbox: InputBox,
    /// The class with the highest score.
    pub class_id: ClassId,
    /// That score, from 0 to 1.
    pub score: f32,
}

impl Candidate {
    /// Whether no number of it is infinite or no number at all.
    pub(crate) fn is_finite(&self) -> bool {
        self.score.is_finite() && self.bbox.sides().iter().all(|side| side.is_finite())
    }
}
