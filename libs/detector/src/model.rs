//! Models: how one is installed from an ONNX file, and what an installed one is.

pub mod bundle;
pub mod error;
pub mod install;
pub mod labels;
pub mod manifest;
