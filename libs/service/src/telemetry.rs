//! What a process tells about single requests and jobs: logs, and traces of them.

mod logs;
pub mod metrics;
pub mod traces;

pub use logs::{LogFilter, LogFormat, LogSettings, start};
