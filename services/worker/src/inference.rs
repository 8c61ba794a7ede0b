//! From a job's picture to its detections: the picture is preprocessed for its model, and a slot runs it, alone or in a
//! batch.

mod arrivals;
mod batching;
mod error;
mod pool;
mod preprocessing;
mod run_spans;
mod slots;
mod tiles;
mod waiting_line;
mod work;

pub(crate) use batching::{BatchRules, Batcher};
pub(crate) use error::InferenceError;
pub(crate) use preprocessing::{PictureFile, Placement};
pub(crate) use slots::{SlotLease, Slots};
pub(crate) use tiles::TiledJob;
pub(crate) use work::{Batch, Picture, Work};
