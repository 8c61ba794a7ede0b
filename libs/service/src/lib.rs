//! What every process of this service needs around its work: settings, telemetry, probes, and its own
//! lifecycle.
//!
//! Knows no picture, no queue, no model.

pub mod config;
pub mod files;
pub mod lifecycle;
pub mod probes;
pub mod telemetry;

/// The version of this build, as `spotter --version` and every `_info` metric report it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
