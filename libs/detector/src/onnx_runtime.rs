//! ONNX Runtime: its library, execution providers, sessions and their weights.

pub mod bare_model;
pub mod canceller;
pub mod error;
pub mod library;
pub mod provider;
pub mod session;
pub(crate) mod shared_weights;
pub mod telemetry;
