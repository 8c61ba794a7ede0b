//! The message types of the ONNX format. `tests/it/onnx_types.rs` generates them from `proto/onnx.proto`.

#![allow(missing_docs, unreachable_pub, clippy::all)]

include!("../../proto/onnx.rs");
