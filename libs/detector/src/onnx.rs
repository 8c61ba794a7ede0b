//! Reading, changing and writing ONNX files without running them.

pub mod at_size;
pub mod batch;
pub mod cut;
pub mod external;
pub mod float_ends;
mod graph;
mod names;
/// The message types of the ONNX format, generated from `proto/onnx.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
}

use std::{fmt, path::PathBuf};

use prost::{Message, bytes::Bytes};
use proto::{
    ModelProto, ValueInfoProto, tensor_proto::DataType,
    tensor_shape_proto::dimension::Value as DimensionValue, type_proto::Value as TypeValue,
};

pub(crate) use graph::float_values;
pub use names::{ClassNames, parse_names};

/// `TensorProto.DataType.FLOAT`, which models are given and give back.
const FLOAT32: i32 = DataType::Float as i32;

/// A file that is no usable ONNX model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// The bytes are no ONNX message.
    #[error("it is no ONNX file: {0}")]
    NotOnnx(String),
    /// Weights lie in other files beside this one, and nothing says where they are to be looked for.
    #[error("the values of tensor '{tensor}' are in another file")]
    ExternalData {
        /// The first tensor found to be elsewhere.
        tensor: String,
    },
    /// What the file says about a tensor in another file cannot be right, or must not be followed.
    #[error("the values of tensor '{tensor}' are in another file, and {problem}")]
    BadExternalData {
        /// The tensor.
        tensor: String,
        /// What is wrong, and what to do about it.
        problem: String,
    },
    /// A file of weights is missing or cannot be read.
    #[error(
        "the values of tensor '{tensor}' are in the file {path}, which cannot be read ({detail}); put it \
         beside the model, or export the model with its weights in one file"
    )]
    UnreadableExternalData {
        /// The tensor.
        tensor: String,
        /// The file that holds its values.
        path: PathBuf,
        /// Why it cannot be read.
        detail: String,
    },
    /// Weights in other files are more than one ONNX file can hold.
    #[error(
        "with its weights the model has {bytes} bytes; an installed model is one file, and an ONNX file has \
         less than 2 GiB"
    )]
    TooLarge {
        /// The size of the model and its weights.
        bytes: u64,
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

/// What the elements of a tensor are, as far as inputs and outputs of detectors go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementType {
    /// 32-bit floats.
    Float32,
    /// Floats of another width, by their type in the file; see [`float_ends`].
    OtherFloat(i32),
    /// Something else, by its type in the file, or 0 if the file does not say.
    Other(i32),
}

impl ElementType {
    fn of(data_type: i32) -> Self {
        match DataType::try_from(data_type) {
            Ok(DataType::Float) => Self::Float32,
            Ok(DataType::Float16 | DataType::Bfloat16 | DataType::Double) => {
                Self::OtherFloat(data_type)
            }
            _ => Self::Other(data_type),
        }
    }

    /// Whether they are floats of any width.
    #[must_use]
    pub fn is_float(self) -> bool {
        !matches!(self, Self::Other(_))
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::OtherFloat(data_type) | Self::Other(data_type)) = *self else {
            return f.write_str("float32");
        };
        match DataType::try_from(data_type) {
            Ok(DataType::Undefined) | Err(_) => f.write_str("unknown type"),
            Ok(DataType::Double) => f.write_str("float64"),
            Ok(known) => f.write_str(&known.as_str_name().to_lowercase()),
        }
    }
}

/// Name, element type and shape of a graph's input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name in the graph.
    pub name: String,
    /// What its elements are.
    pub element: ElementType,
    /// Its shape; empty when the file does not say.
    pub shape: Vec<Dimension>,
}

impl TensorInfo {
    fn of(info: &ValueInfoProto) -> Self {
        let name = info.name().to_owned();
        let Some(TypeValue::TensorType(tensor)) =
            info.r#type.as_ref().and_then(|t| t.value.as_ref())
        else {
            return Self { name, element: ElementType::Other(0), shape: Vec::new() };
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
        Self { name, element: ElementType::of(tensor.elem_type()), shape }
    }
}

impl fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape: Vec<String> = self.shape.iter().map(ToString::to_string).collect();
        write!(f, "{} [{}]", self.name, shape.join(", "))?;
        match self.element {
            ElementType::Float32 => Ok(()),
            other => write!(f, " of {other}"),
        }
    }
}

/// An ONNX model held in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct OnnxModel {
    /// The message itself.
    pub proto: ModelProto,
}

impl OnnxModel {
    /// Reads a model from the bytes of its file, which holds all of it.
    ///
    /// # Errors
    /// [`OnnxError`] when the bytes are no model, or when some of its weights are kept in other files;
    /// see [`OnnxModel::parse_graph`].
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, OnnxError> {
        let model = Self::parse_graph(bytes)?;
        match external::tensors(&model).into_iter().next() {
            Some(tensor) => Err(OnnxError::ExternalData { tensor: tensor.name().to_owned() }),
            None => Ok(model),
        }
    }

    /// As [`OnnxModel::parse`], of a model whose weights may be in other files;
    /// [`external::embed`] reads them.
    ///
    /// # Errors
    /// [`OnnxError::NotOnnx`] when the bytes are no model.
    pub fn parse_graph(bytes: impl Into<Bytes>) -> Result<Self, OnnxError> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(OnnxError::NotOnnx("it is empty (0 bytes)".to_owned()));
        }
        let proto = ModelProto::decode(bytes)
            .map_err(|error| OnnxError::NotOnnx(format!("its bytes do not parse ({error})")))?;
        if proto.graph.as_ref().is_none_or(|graph| graph.node.is_empty()) {
            return Err(OnnxError::NotOnnx("it holds no graph".to_owned()));
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

    /// The same model without any output but its first.
    #[must_use]
    pub fn with_first_output(mut self) -> Self {
        if let Some(graph) = &mut self.proto.graph {
            graph.output.truncate(1);
        }
        self
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
