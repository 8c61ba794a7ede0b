//! What a process reports about itself: logs, metrics and traces.

mod logs;
pub mod metrics;
pub mod traces;

pub use logs::{LogFilter, LogFormat, LogSettings, start};
