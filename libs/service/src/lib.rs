//! What every process of this service needs around its work: settings, logs, metrics, shutdown.
//!
//! Knows no picture, no queue, no model.

pub mod address;
pub mod config;
pub mod exit;
pub mod failpoints;
pub mod files;
pub mod healthcheck;
pub mod host;
pub mod metrics;
pub mod open_files;
pub mod probes;
pub mod secret;
pub mod shutdown;
pub mod telemetry;

/// The version of this build, as `spotter --version` and every `_info` metric say it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
