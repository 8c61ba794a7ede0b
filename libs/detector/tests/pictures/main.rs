//! Pictures from bytes to tensor, compared with OpenCV's results. No model and no ONNX Runtime is needed.

// Outside of test functions clippy does not see that this is a test.
#![allow(clippy::expect_used)]

mod annotate_drawing;
mod decode_damage;
mod decode_orientation;
mod decode_reduced;
mod decode_reference;
mod letterbox_reference;
mod support;
