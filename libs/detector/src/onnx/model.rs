//! A model read from an ONNX file.

use prost::{Message, bytes::Bytes};

use super::{
    error::OnnxError, proto::ModelProto, tensor_info::TensorInfo, tensors::external_tensors,
};

/// An ONNX model held in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct OnnxModel {
    /// The protobuf message of the file.
    pub proto: ModelProto,
}

impl OnnxModel {
    /// Parses the bytes of a file with all weights included.
    ///
    /// # Errors
    /// [`OnnxError`] when the bytes are not a model, or when weights are in other files; see
    /// [`OnnxModel::parse_graph`].
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, OnnxError> {
        let model = Self::parse_graph(bytes)?;
        match external_tensors(&model.proto).into_iter().next() {
            Some(tensor) => Err(OnnxError::ExternalData { tensor: tensor.name().to_owned() }),
            None => Ok(model),
        }
    }

    /// As [`OnnxModel::parse`], of a model whose weights may be in other files;
    /// [`embed`](super::external::embed) reads them.
    ///
    /// # Errors
    /// [`OnnxError::NotOnnx`] when the bytes are not a model.
    pub fn parse_graph(bytes: impl Into<Bytes>) -> Result<Self, OnnxError> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(OnnxError::NotOnnx("it is empty (0 bytes)".to_owned()));
        }
        let proto = ModelProto::decode(bytes)
            .map_err(|error| OnnxError::NotOnnx(format!("its bytes do not parse ({error})")))?;
        if proto.graph.as_ref().is_none_or(|graph| graph.node.is_empty()) {
            return Err(OnnxError::NotOnnx("it contains no graph".to_owned()));
        }
        Ok(Self { proto })
    }

    /// The bytes of a file that holds this model.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }

    /// The graph's inputs, without the weights that old files list among them.
    #[must_use]
    pub fn inputs(&self) -> Vec<TensorInfo> {
        let Some(graph) = &self.proto.graph else { return Vec::new() };
        let is_weight = |name: &str| graph.initializer.iter().any(|tensor| tensor.name() == name);
        graph.input.iter().filter(|input| !is_weight(input.name())).map(TensorInfo::of).collect()
    }

    /// The graph's outputs.
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

    /// The program that wrote the file, such as `pytorch 1.13.0`, or `None` if the file does not state it.
    #[must_use]
    pub fn producer(&self) -> Option<String> {
        let producer = format!("{} {}", self.proto.producer_name(), self.proto.producer_version());
        let producer = producer.trim();
        (!producer.is_empty()).then(|| producer.to_owned())
    }
}
