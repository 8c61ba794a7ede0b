//! How a process starts, stops and fails.

pub mod exit;
pub mod failpoints;
pub mod open_files;
pub mod process_name;
pub mod shutdown;
