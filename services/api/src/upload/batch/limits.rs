//! The limits of a batch.

use std::time::Duration;

/// The limits of a batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// How many pictures it may have.
    pub max_items: u32,
    /// How many bytes its pictures may have together.
    pub max_bytes: u64,
    /// How long it may take to arrive.
    pub timeout: Duration,
    /// How long one of its pictures waits for room in the queue, and for the rate and the quota of its API key.
    pub wait: Duration,
}
