//! The detector with real models, pictures and ONNX Runtime, as `make setup` fetches them.

// What `clippy.toml` allows in tests does not reach the functions that tests share.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod detect;
mod exports;
mod external;
mod families;
mod graphs;
mod install;
mod layouts;
mod onnx;
mod onnx_types;
mod samples;
mod support;
mod tiles;
mod variants;
