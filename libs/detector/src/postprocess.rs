//! From a model's outputs to boxes: each kind of head gives candidates, and of those that overlap the best is kept.

pub mod candidate;
pub mod heads;
pub mod nms;
