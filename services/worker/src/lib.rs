//! The worker: takes deliveries off the queue, runs the detector, stores the record, settles.
//!
//! Stateless: whatever a worker held when it died is handed to another. It knows no HTTP.

mod announce;
mod arrivals;
mod batching;
mod config;
mod consume;
pub mod cores;
pub mod hints;
mod inference;
mod metrics;
mod models;
mod prepare;
mod process;
mod run_spans;
mod settle;
mod start;
mod vitals;
mod work;

pub use config::Config;
pub use cores::CoreShares;
pub use start::{MODELS_DIR, WorkerError, nearest, onnx_runtime_with, run};
