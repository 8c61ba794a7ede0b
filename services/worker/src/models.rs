//! The models that a worker serves: which are installed, which are in memory, and their detectors.

mod cache;
mod entries;
mod folder;
mod gauges;
mod loaded;
mod loader;
mod planned;
mod run_times;

pub(crate) use cache::{CacheRules, ModelCache};
pub(crate) use entries::ServedModel;
pub(crate) use folder::watch_folder;
pub(crate) use gauges::register as register_gauges;
pub(crate) use loaded::{LoadedModel, RunShape, SlotId};
pub(crate) use loader::ModelLoader;
