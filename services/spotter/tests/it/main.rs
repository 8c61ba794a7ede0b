//! The command as people type it, and the whole system as processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test, a panic with a clear message is the right report"
)]

mod autoscaling;
mod bench;
mod compose;
mod crates;
mod detect;
mod disk;
mod dlq;
mod manifests;
mod metrics;
mod model;
mod nasty;
mod providers;
mod readme;
mod reference;
mod responses;
mod roles;
mod secrets;
mod submit;
mod system;
mod traces;
mod up;
mod whole;
