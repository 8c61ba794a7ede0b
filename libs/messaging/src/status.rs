//! The status of each process: what it does, and what it has counted since it started.
//!
//! A process tells it when it is asked, so nothing is sent while nobody looks, and nothing is stored.

pub(crate) mod histogram;
pub(crate) mod process;
pub(crate) mod requests;
pub(crate) mod survey;
