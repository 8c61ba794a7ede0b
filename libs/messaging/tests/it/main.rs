//! The messaging layer against a real nats-server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's way to fail")]

mod connection;
mod dead_letters;
mod deliveries;
mod fixture;
mod heartbeats;
mod idempotency;
mod leases;
mod outage;
mod pictures;
mod queue;
mod reconciler;
mod replicas;
mod restart;
mod roles;
mod settle;
mod setup;
mod stuck_jobs;
mod tasks;
mod tls;
mod writes;
