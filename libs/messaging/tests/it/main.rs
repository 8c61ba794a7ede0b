//! The messaging layer against a real nats-server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's way to fail")]

mod batches;
mod connection;
mod coordination;
mod dead_letters;
mod drawings;
mod fixture;
mod jobs;
mod provision;
mod reconcile;
mod records;
mod shadow_jobs;
mod status;
mod webhooks;
