//! The records of tasks: writing and reading them, and waiting for a terminal one.

mod lookup;
mod queued;
pub(crate) mod store;
mod wait;
