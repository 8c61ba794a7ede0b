//! Picture bytes and a model in, detections out.
//!
//! The only crate that knows `ort` and `image`. It knows no queue, no HTTP and no async.
//!
//! The pipeline: [`decode`] → [`letterbox`] → infer → decode_boxes → non_maximum_suppression.

pub mod annotate;
pub mod bundle;
pub mod candidate;
pub mod decode;
pub mod detector;
pub mod error;
pub mod head;
pub mod install;
pub mod labels;
pub mod letterbox;
pub mod nms;
pub mod onnx;
pub mod preprocessor;
pub mod provider;
pub mod session;
mod shared_weights;

pub use bundle::{ModelBundle, ModelInput};
pub use candidate::{Candidate, InputBox};
pub use decode::DecodeError;
pub use detector::{BatchItem, Detections, Detector, SharedModel, StageTimings};
pub use error::{DetectError, ModelError, RuntimeError};
pub use preprocessor::{PreparedPicture, Preprocessor};
pub use provider::ExecutionProvider;
pub use session::{Canceller, Runtime, SessionOptions};
