//! Shared parts of the routes' schemas.

/// The task id in all examples.
pub(super) const EXAMPLE_ID: &str = "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47";

/// A header `Idempotency-Key`, as a regular expression.
pub(super) const IDEMPOTENCY_KEY: &str = "^[!-~]{1,255}$";

/// The name of a model, as a regular expression.
pub(super) const MODEL_NAME: &str = "^[A-Za-z0-9_-]{1,64}$";
