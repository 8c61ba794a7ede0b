//! Shared parts of the routes' schemas.

/// The task id in all examples.
pub(super) const EXAMPLE_ID: &str = "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47";
