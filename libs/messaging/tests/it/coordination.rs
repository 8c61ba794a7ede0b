//! What processes agree on: heartbeats, leases and idempotency keys.

mod heartbeats;
mod idempotency;
mod leases;
