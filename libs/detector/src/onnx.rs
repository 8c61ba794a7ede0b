//! Reading, changing and writing ONNX files without running them.

pub mod at_size;
pub mod batch;
pub mod cut;
pub mod ends;
mod error;
pub mod external;
pub mod float_ends;
mod graph;
mod model;
mod names;
pub mod proto;
pub mod ranking;
mod tensor_info;
mod tensors;

pub use error::OnnxError;
pub(crate) use graph::float_values;
pub use model::OnnxModel;
pub use names::{ClassNames, parse_names};
pub use tensor_info::{Dimension, ElementType, TensorInfo};
