//! What processes agree on: heartbeats, leases, idempotency keys and API keys.

pub(crate) mod api_keys;
mod heartbeats;
mod idempotency;
mod leases;
mod model_descriptions;
