//! What the schemas of all routes share.

/// The task id that every example shows.
pub(crate) const EXAMPLE_ID: &str = "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47";
