//! A model's weights, in memory once for all its sessions.
//!
//! A session that loads a model file has its own copy of the weights. Here ONNX Runtime optimises the
//! graph once; each session loads the optimised graph without weights, and gets the weights as tensors
//! that all sessions share.

use std::{fs::File, io::Read, os::fd::AsRawFd, sync::Arc};

use ort::{
    logging::LogLevel,
    session::{
        Session,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{DynValue, Tensor},
};

use super::error::OnnxRuntimeError;
use crate::onnx::{
    OnnxModel, float_values,
    proto::{GraphProto, StringStringEntryProto, TensorProto, tensor_proto::DataLocation},
};

/// The file that the graph names for its weights. It must exist, and is never read since each session
/// is given the weights.
const EXTERNAL_WEIGHTS: &str = "null";
const FOLDER_OF_EXTERNAL_WEIGHTS: &str = "/dev";
/// Tensors with fewer values stay in the graph: ONNX Runtime reads some of them while it loads.
const LEAST_SHARED: usize = 1024;

/// A graph optimised for this CPU, and its weights.
#[derive(Debug)]
pub(crate) struct SharedWeights {
    /// An ONNX file whose large weights are in [`EXTERNAL_WEIGHTS`].
    graph: Vec<u8>,
    weights: Vec<(String, Arc<DynValue>)>,
}

impl SharedWeights {
    /// Optimises `model`, the bytes of an ONNX file, with the options of `builder`. ONNX Runtime writes
    /// the result to a temporary file without a name, so that none is left when the process is killed.
    ///
    /// # Errors
    /// [`OnnxRuntimeError`] when the file cannot be written or ONNX Runtime rejects the model.
    pub(crate) fn optimise(
        builder: SessionBuilder,
        model: &[u8],
    ) -> Result<Self, OnnxRuntimeError> {
        let unwritable = OnnxRuntimeError::TemporaryFile;
        let mut optimised = tempfile::tempfile().map_err(unwritable)?;
        optimise(builder, model, &optimised)?;
        let mut bytes = Vec::new();
        optimised.read_to_end(&mut bytes).map_err(unwritable)?;
        let mut model = OnnxModel::parse(bytes)?;
        let graph = model.proto.graph.get_or_insert_default();
        let weights = take_weights(graph)?;
        Ok(Self { graph: model.to_bytes(), weights })
    }

    /// A further session of the model. It needs memory only for its runs.
    pub(crate) fn session(&self, builder: SessionBuilder) -> ort::Result<Session> {
        // Optimising the graph again would copy the weights.
        let mut builder =
            builder.with_optimization_level(GraphOptimizationLevel::Disable)?.with_config_entry(
                "session.model_external_initializers_file_folder_path",
                FOLDER_OF_EXTERNAL_WEIGHTS,
            )?;
        for (name, value) in &self.weights {
            builder = builder.with_initializer(name, Arc::clone(value))?;
        }
        builder.commit_from_memory(&self.graph)
    }
}

fn optimise(builder: SessionBuilder, model: &[u8], to: &File) -> ort::Result<()> {
    // ONNX Runtime takes a path, and this is one to a file without a name.
    let path = format!("/proc/self/fd/{}", to.as_raw_fd());
    // ONNX Runtime warns that the file is only for this kind of CPU. It does not outlive the process.
    let builder = builder.with_log_level(LogLevel::Error)?.with_optimized_model_path(path)?;
    { builder }.commit_from_memory(model).map(drop)
}

/// Moves the large float tensors of `graph` into values of ONNX Runtime.
fn take_weights(graph: &mut GraphProto) -> ort::Result<Vec<(String, Arc<DynValue>)>> {
    let mut weights = Vec::new();
    for tensor in &mut graph.initializer {
        let Some(values) = float_values(tensor).filter(|values| values.len() >= LEAST_SHARED)
        else {
            continue;
        };
        let value = Tensor::from_array((tensor.dims.clone(), values))?.into_dyn();
        weights.push((tensor.name().to_owned(), Arc::new(value)));
        *tensor = external(tensor);
    }
    Ok(weights)
}

/// `tensor` without its values, declared to be in [`EXTERNAL_WEIGHTS`].
fn external(tensor: &TensorProto) -> TensorProto {
    let location = StringStringEntryProto {
        key: Some("location".to_owned()),
        value: Some(EXTERNAL_WEIGHTS.to_owned()),
    };
    TensorProto {
        name: tensor.name.clone(),
        dims: tensor.dims.clone(),
        data_type: tensor.data_type,
        data_location: Some(DataLocation::External as i32),
        external_data: vec![location],
        ..TensorProto::default()
    }
}
