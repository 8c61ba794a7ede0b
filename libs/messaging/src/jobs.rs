//! Jobs: publishing them with their pictures, pulling them, and settling them.

pub(crate) mod cancel;
pub(crate) mod delivery;
pub(crate) mod lane_progress;
pub(crate) mod picture_store;
pub(crate) mod publish;
pub(crate) mod pull;
pub(crate) mod report;
pub(crate) mod stored;
pub(crate) mod trace;
pub(crate) mod wire;
