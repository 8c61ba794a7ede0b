//! From a model's outputs to boxes: heads decode candidates, and non-maximum suppression selects among them.

pub mod candidate;
pub mod heads;
pub mod nms;
