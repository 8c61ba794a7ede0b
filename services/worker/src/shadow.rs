//! Shadow runs: the shadow model (`SHADOW_MODEL`) runs a share of the jobs that other models have run, and what both have
//! found is compared. No task waits for it, and no result depends on it.
//!
//! A worker that has stored the result of a job publishes the picture as a shadow job. A worker that serves the shadow
//! model takes it while it has an idle slot, on a thread of its own, and gives way to jobs.

mod metrics;
mod publisher;
mod runner;

pub(crate) use metrics::ShadowMetrics;
pub(crate) use publisher::ShadowPublisher;
pub(crate) use runner::ShadowRunner;
