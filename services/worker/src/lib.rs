//! The worker: pulls deliveries, runs the detector, stores the record, settles the delivery.
//!
//! Stateless: NATS redelivers the jobs of a worker that dies. It knows no HTTP.

mod config;
mod consume;
mod consumers;
pub mod cores;
mod drawing;
mod health;
mod heartbeat;
pub mod hints;
mod inference;
mod metrics;
mod models;
mod process;
mod recorded_run;
mod running;
mod settle;
mod startup;

pub use config::Config;
pub use cores::CoreShares;
pub use startup::{MODELS_DIR, WorkerError, nearest, onnx_runtime_with, run};
