//! Picture bytes and a model in, detections out.
//!
//! The only crate that knows `ort` and `image`. It knows no queue, no HTTP and no async.
//!
//! The pipeline: [`decode`] → letterbox ([`preprocess`]) → infer ([`onnx_runtime`]) → decode_boxes ([`families`]) →
//! non_maximum_suppression ([`postprocess`]); a [`Detector`] is a loaded [`model`] with what comes after it.

pub mod annotate;
pub mod decode;
mod detector;
pub mod error;
pub mod families;
mod input_box;
pub mod model;
pub mod onnx;
pub mod onnx_runtime;
pub mod postprocess;
pub mod preprocess;
pub mod tensor;

pub use decode::DecodeError;
pub use detector::{BatchItem, Detections, Detector, SharedModel, StageTimings};
pub use error::DetectError;
pub use input_box::InputBox;
pub use model::{bundle::ModelBundle, error::ModelError, manifest::ModelInput};
pub use onnx_runtime::{
    bare_model::BareModel, canceller::Canceller, error::OnnxRuntimeError, library::OnnxRuntime,
    provider::ExecutionProvider, session::SessionOptions, telemetry::disable_telemetry,
};
pub use postprocess::candidate::Candidate;
pub use preprocess::{PreprocessedPicture, Preprocessor, TiledPicture};
