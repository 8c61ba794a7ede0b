//! Picture bytes and a model in, detections out.
//!
//! The only crate that knows `ort` and `image`. It knows no queue, no HTTP and no async.
//!
//! The pipeline: [`decode`] → [`letterbox`] → infer → decode_boxes → non_maximum_suppression.

pub mod annotate;
pub mod bundle;
pub mod decode;
pub mod detector;
pub mod error;
pub mod head;
pub mod install;
pub mod labels;
pub mod letterbox;
pub mod nms;
pub mod onnx;
pub mod provider;
pub mod session;
mod shared_weights;

pub use bundle::{ModelBundle, ModelInput};
pub use detector::{
    BatchItem, Detector, Found, PreparedPicture, Preprocessor, SharedModel, StageTimings,
};
pub use error::{DetectError, ModelError, RuntimeError};
pub use provider::ExecutionProvider;
pub use session::{Canceller, Runtime, SessionOptions};
