//! The messaging layer against a real nats-server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's way to fail")]

mod connection;
mod deliveries;
mod fixture;
mod queue;
mod restart;
mod settle;
mod setup;
mod tasks;
