//! What the API and a worker send for one job; the examples share it.

include!("../shared/protocol.rs");
