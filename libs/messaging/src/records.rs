//! The records of tasks: writing and reading them, and waiting for a terminal one.

pub(crate) mod store;
mod wait;
