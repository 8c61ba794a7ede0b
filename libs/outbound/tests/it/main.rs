//! Requests to real servers on loopback, by names that a resolver of the test's own resolves.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's way to fail")]

mod addresses;
mod answers;
mod names;
mod redirects;
mod requests;
mod tls;
