//! The worker with a real NATS and the real default model.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test, a panic with a clear message is the right report"
)]

mod batches;
mod fixture;
mod healthcheck;
mod heartbeat;
mod isolation;
mod models;
mod onnx_runtime_telemetry;
mod outcomes;
mod probes;
mod shadow;
mod shutdown;
mod status;
