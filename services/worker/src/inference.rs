//! From a job's picture to its detections: the model is resolved, the picture preprocessed, and a slot runs it, alone
//! or in a batch.

mod arrivals;
mod batching;
mod error;
mod models;
mod planned;
mod pool;
mod preprocessing;
mod run_spans;
mod slots;
mod tiles;
mod waiting_line;
mod work;

pub(crate) use batching::{BatchRules, Batcher};
pub(crate) use error::InferenceError;
pub(crate) use models::{AllCoresDetector, LoadedModels, ModelSource, OwnModel};
pub(crate) use planned::PlannedDetectors;
pub(crate) use preprocessing::{OwnModelInput, PictureFile, Placement, Preprocessing};
pub(crate) use slots::{SlotLease, Slots};
pub(crate) use work::{Batch, Picture, Work};
