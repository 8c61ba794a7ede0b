//! The records of tasks: writing, reading and following them, and waiting for a terminal one.

pub(crate) mod ended;
pub(crate) mod follow;
mod lookup;
mod queued;
pub(crate) mod run;
pub(crate) mod store;
mod subscription;
mod wait;
