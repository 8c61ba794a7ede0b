//! From candidates to detections: non-maximum suppression selects among the boxes that a head has decoded.

pub mod candidate;
pub mod nms;
pub(crate) mod tiles;
