//! The domain model: tasks, pictures, detections, thresholds, digests.
//!
//! Pure types and rules. This crate does no I/O and knows neither the queue, the model, nor HTTP, but for the text of a
//! `Retry-After`, which the clients of two crates read.

mod annotations;
mod api_key;
mod batch;
mod batch_id;
mod callback_url;
mod class_filter;
mod comparison;
mod detection;
mod digest;
mod drawing;
mod geometry;
mod metadata;
mod model_name;
pub mod overlap;
pub mod picture;
mod priority;
mod retry_after;
mod retry_reason;
mod settings;
mod state_kind;
mod task;
mod task_filter;
mod task_id;
mod threshold;
mod tiling;

pub use annotations::{AnnotationFormat, Annotations, InvalidAnnotationFormat, five_decimals};
pub use api_key::{
    ApiKey, ApiKeyToken, InvalidKeyId, InvalidKeyName, InvalidRate, InvalidScope, KeyId, KeyName,
    KeyTag, PresentedKey, Rate, RatePeriod, Scope, Scopes,
};
pub use batch::{BatchCounts, BatchEnd, BatchRecord, ItemOutcome, ItemRefusal, Reception};
pub use batch_id::{BatchId, BatchItem, MAX_BATCH_ITEMS};
pub use callback_url::CallbackUrl;
pub use class_filter::{ClassFilter, InvalidClassFilter, MAX_FILTER_CLASSES, UnknownClass};
pub use comparison::{
    ClassCounts, ComparedRun, Comparison, Confusion, ModelComparison, SAME_OBJECT_IOU,
};
pub use detection::{ClassId, DetectedObject, Detection, LabelMap};
pub use digest::{InvalidSha256Digest, Sha256Digest, Sha256Hasher};
pub use drawing::{Drawing, DrawingFormat, InvalidDrawingFormat};
pub use geometry::BoundingBox;
pub use metadata::{InvalidMetadata, MAX_METADATA_BYTES, Metadata};
pub use model_name::{InvalidModelName, ModelName, ModelNames};
pub use priority::{InvalidPriority, Priority};
pub use retry_after::retry_after;
pub use retry_reason::RetryReason;
pub use settings::{DetectionSettings, MAX_DETECTIONS_LIMIT, MaxDetections};
pub use state_kind::StateKind;
pub use task::{FailureReason, Job, RunReport, TaskRecord, TaskState};
pub use task_filter::{MetadataFilter, TaskFilter, plain_text};
pub use task_id::{InvalidTaskId, TaskId};
pub use threshold::{ConfidenceThreshold, IouThreshold, OutOfUnitRange};
pub use tiling::{InvalidTileOverlap, InvalidTiles, Tile, TileGrid, TileOverlap, Tiles, Tiling};
