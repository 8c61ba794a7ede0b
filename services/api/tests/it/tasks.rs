//! Repeated submissions, and submissions that the queue rejects.

mod idempotency;
mod outage;
