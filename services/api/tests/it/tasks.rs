//! Submissions that are repeated, and those that the queue does not take.

mod idempotency;
mod outage;
