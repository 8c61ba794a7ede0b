//! ONNX Runtime: its library, what runs a model's operators, sessions and their weights.

pub mod provider;
pub mod session;
pub(crate) mod shared_weights;
