//! The message types of the ONNX format, generated from `proto/onnx.proto`.

#![allow(missing_docs, unreachable_pub, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
