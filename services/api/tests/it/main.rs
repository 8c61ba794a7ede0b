//! The API against a real NATS and a real Redis, with the test in the place of the worker.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "in a test, a panic with a clear message is the right report, and what is skipped is said aloud"
)]

mod app;
mod cache;
mod http;
mod reconcile;
mod routes;
mod tasks;
mod upload;
