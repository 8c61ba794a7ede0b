//! The client against answers written by hand, and its types against the API's own document.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test, a panic with a clear message is the right report"
)]

mod batches;
mod document;
mod downloads;
mod lists;
mod operations;
mod retries;
mod scripted_api;
