//! The worker: pulls deliveries, runs the detector, stores the record, settles the delivery.
//!
//! Stateless: NATS redelivers the jobs of a worker that dies. It knows no HTTP.

mod class_counts;
mod config;
mod consume;
mod consumers;
mod context;
pub mod cores;
mod drawing;
mod health;
mod heartbeat;
pub mod hints;
mod inference;
mod latencies;
mod load;
mod metrics;
mod models;
mod process;
mod recent_latencies;
mod recorded_run;
mod running;
mod settle;
mod shadow;
mod startup;
mod status;

pub use config::{Config, ShadowConfig};
pub use cores::CoreShares;
pub use startup::{MODELS_DIR, WorkerError, nearest, onnx_runtime_with, run};
