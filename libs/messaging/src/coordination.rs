//! What processes tell each other: who holds a lease, which workers live, which task a key stands for.

pub(crate) mod fingerprint;
pub(crate) mod heartbeat;
pub(crate) mod idempotency;
pub(crate) mod lease;
