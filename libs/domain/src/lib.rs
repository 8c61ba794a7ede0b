//! The domain model: tasks, pictures, detections, thresholds, digests.
//!
//! Pure types and rules. This crate does no I/O and knows neither the queue, the model, nor HTTP.

mod detection;
mod digest;
mod geometry;
mod model_name;
pub mod picture;
mod settings;
mod task;
mod task_id;
mod threshold;

pub use detection::{ClassId, DetectedObject, Detection, LabelMap};
pub use digest::{InvalidSha256Digest, Sha256Digest, Sha256Hasher};
pub use geometry::BoundingBox;
pub use model_name::{InvalidModelName, ModelName};
pub use settings::{DetectionSettings, MAX_DETECTIONS_LIMIT, MaxDetections};
pub use task::{FailureReason, Job, TaskRecord, TaskState};
pub use task_id::{InvalidTaskId, TaskId};
pub use threshold::{ConfidenceThreshold, IouThreshold, OutOfUnitRange};
