//! The API against a real NATS and a real Redis, with the test in the place of the worker.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "in a test, a panic with a clear message is the right report, and what is skipped is said aloud"
)]

mod app;
mod cache;
mod clients;
mod early_answers;
mod expect_continue;
mod half_closed;
mod healthcheck;
mod idempotency;
mod long_poll;
mod metrics;
mod multipart;
mod openapi;
mod options;
mod original;
mod outage;
mod pages;
mod reconcile;
mod responses;
mod slow_clients;
mod v1;
