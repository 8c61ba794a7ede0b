//! The inputs and outputs that a graph declares.

use std::fmt;

use super::proto::{
    ValueInfoProto, tensor_proto::DataType, tensor_shape_proto::dimension::Value as DimensionValue,
    type_proto::Value as TypeValue,
};

/// One dimension of a tensor's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dimension {
    /// A fixed size.
    Fixed(u64),
    /// A dynamic size, with its name in the file, which may be empty.
    Dynamic(String),
}

impl Dimension {
    /// The size, or `None` if it is dynamic.
    #[must_use]
    pub fn fixed(&self) -> Option<u64> {
        match self {
            Self::Fixed(size) => Some(*size),
            Self::Dynamic(_) => None,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Dynamic(name) if name.is_empty() => f.write_str("?"),
            Self::Dynamic(name) => f.write_str(name),
        }
    }
}

/// The element type of a tensor, as far as inputs and outputs of detectors need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementType {
    /// 32-bit floats.
    Float32,
    /// Floats of another width, with their type code in the file; see [`float_ends`](super::float_ends).
    OtherFloat(i32),
    /// Another type, with its code in the file, or 0 if the file does not state it.
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
    /// The type of its elements.
    pub element: ElementType,
    /// Its shape; empty when the file does not state it.
    pub shape: Vec<Dimension>,
}

impl TensorInfo {
    pub(super) fn of(info: &ValueInfoProto) -> Self {
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
                Some(DimensionValue::DimParam(name)) => Dimension::Dynamic(name.clone()),
                _ => Dimension::Dynamic(String::new()),
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
