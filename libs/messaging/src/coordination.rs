//! What processes tell each other: who holds a lease, which workers live and which models they serve, which task an idempotency key stands for, which
//! API keys there are.

pub(crate) mod api_keys;
pub(crate) mod fingerprint;
pub(crate) mod heartbeat;
pub(crate) mod idempotency;
pub(crate) mod lease;
pub(crate) mod model_descriptions;
