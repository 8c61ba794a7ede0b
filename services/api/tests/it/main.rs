//! The API with a real NATS and a real Redis; the test plays the worker.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "in a test, a panic with a clear message is the right report, and skipped tests are reported"
)]

mod app;
mod auth;
mod cache;
mod event_reader;
mod http;
mod reconcile;
mod routes;
mod tasks;
mod upload;
