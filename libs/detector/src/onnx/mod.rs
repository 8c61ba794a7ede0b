//! Reading, changing and writing ONNX files without running them.

pub mod at_size;
pub mod cut;
mod graph;
mod names;
/// The message types of the ONNX format, generated from `proto/onnx.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
}

use std::fmt;

use prost::{Message, bytes::Bytes};
use proto::{
    ModelProto, ValueInfoProto, tensor_proto::DataLocation,
    tensor_shape_proto::dimension::Value as DimensionValue, type_proto::Value as TypeValue,
};

pub(crate) use graph::float_values;
pub use names::parse_names;

/// `TensorProto.DataType.FLOAT`: the only element type of inputs and outputs that is supported.
const FLOAT32: i32 = 1;

/// A file that is no usable ONNX model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// The bytes are no ONNX message.
    #[error("it is no ONNX file: {0}")]
    NotOnnx(String),
    /// The weights lie in other files beside this one.
    #[error(
        "tensor '{tensor}' lies in another file; export the model with its weights in one file"
    )]
    ExternalData {
        /// The first tensor found to be elsewhere.
        tensor: String,
    },
}

/// One dimension of a tensor's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dimension {
    /// Always this size.
    Fixed(u64),
    /// Any size; the name it has in the file, which may be empty.
    Free(String),
}

impl Dimension {
    /// The size, if it is fixed.
    #[must_use]
    pub fn fixed(&self) -> Option<u64> {
        match self {
            Self::Fixed(size) => Some(*size),
            Self::Free(_) => None,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Free(name) if name.is_empty() => f.write_str("?"),
            Self::Free(name) => f.write_str(name),
        }
    }
}

/// Name, element type and shape of a graph's input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name in the graph.
    pub name: String,
    /// Whether its elements are 32-bit floats.
    pub is_float32: bool,
    /// Its shape; empty when the file does not say.
    pub shape: Vec<Dimension>,
}

impl TensorInfo {
    fn of(info: &ValueInfoProto) -> Self {
        let name = info.name().to_owned();
        let Some(TypeValue::TensorType(tensor)) =
            info.r#type.as_ref().and_then(|t| t.value.as_ref())
        else {
            return Self { name, is_float32: false, shape: Vec::new() };
        };
        let dimensions = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim[..]);
        let shape = dimensions
            .iter()
            .map(|dimension| match &dimension.value {
                // Some exporters write -1 or 0 where they mean "any size".
                Some(DimensionValue::DimValue(size)) if *size > 0 => {
                    Dimension::Fixed(size.unsigned_abs())
                }
                Some(DimensionValue::DimParam(name)) => Dimension::Free(name.clone()),
                _ => Dimension::Free(String::new()),
            })
            .collect();
        Self { name, is_float32: tensor.elem_type() == FLOAT32, shape }
    }
}

impl fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape: Vec<String> = self.shape.iter().map(ToString::to_string).collect();
        write!(f, "{} [{}]", self.name, shape.join(", "))?;
        if self.is_float32 { Ok(()) } else { f.write_str(" (not float32)") }
    }
}

/// An ONNX model held in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct OnnxModel {
    /// The message itself.
    pub proto: ModelProto,
}

impl OnnxModel {
    /// Reads a model from the bytes of its file.
    ///
    /// # Errors
    /// [`OnnxError`] when the bytes are no model, or when its weights are kept in other files.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, OnnxError> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(OnnxError::NotOnnx("it is empty (0 bytes)".to_owned()));
        }
        let proto = ModelProto::decode(bytes)
            .map_err(|error| OnnxError::NotOnnx(format!("its bytes do not parse ({error})")))?;
        let graph = proto.graph.as_ref().filter(|graph| !graph.node.is_empty());
        let Some(graph) = graph else {
            return Err(OnnxError::NotOnnx("it holds no graph".to_owned()));
        };
        let elsewhere =
            graph.initializer.iter().find(|t| t.data_location() == DataLocation::External);
        if let Some(tensor) = elsewhere {
            return Err(OnnxError::ExternalData { tensor: tensor.name().to_owned() });
        }
        Ok(Self { proto })
    }

    /// The bytes of a file that holds this model.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }

    /// What the graph must be given; weights that old files list as inputs are left out.
    #[must_use]
    pub fn inputs(&self) -> Vec<TensorInfo> {
        let Some(graph) = &self.proto.graph else { return Vec::new() };
        let is_weight = |name: &str| graph.initializer.iter().any(|tensor| tensor.name() == name);
        graph.input.iter().filter(|input| !is_weight(input.name())).map(TensorInfo::of).collect()
    }

    /// What the graph gives back.
    #[must_use]
    pub fn outputs(&self) -> Vec<TensorInfo> {
        let Some(graph) = &self.proto.graph else { return Vec::new() };
        graph.output.iter().map(TensorInfo::of).collect()
    }

    /// The value that the exporter stored under `key`, such as `names` or `license`.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let entry = self.proto.metadata_props.iter().find(|entry| entry.key() == key)?;
        Some(entry.value())
    }

    /// The program that wrote the file, such as `pytorch 1.13.0`, or `None` if the file is silent.
    #[must_use]
    pub fn producer(&self) -> Option<String> {
        let producer = format!("{} {}", self.proto.producer_name(), self.proto.producer_version());
        let producer = producer.trim();
        (!producer.is_empty()).then(|| producer.to_owned())
    }
}
