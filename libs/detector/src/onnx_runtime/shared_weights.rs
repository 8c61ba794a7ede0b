//! A model's weights, in memory once for all sessions that run it.
//!
//! A session that reads a model for itself keeps a copy of its weights, packed for this CPU. Here
//! the graph is optimised once; every session gets the optimised graph without its weights, and the
//! weights as tensors that all of them share.

use std::{fs, path::Path, sync::Arc};

use ort::{
    logging::LogLevel,
    session::{
        Session,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{DynValue, Tensor},
};
use tempfile::TempDir;

use super::error::OnnxRuntimeError;
use crate::onnx::{
    OnnxModel, float_values,
    proto::{GraphProto, StringStringEntryProto, TensorProto, tensor_proto::DataLocation},
};

/// The graph without its large weights.
const GRAPH: &str = "graph.onnx";
/// The file that the graph says its weights are in. It must exist and is never read, since each
/// session is given the weights.
const NOWHERE: &str = "weights";
/// The graph as ONNX Runtime has optimised it.
const OPTIMISED: &str = "optimised.onnx";
/// Smaller tensors stay in the graph, where ONNX Runtime looks at some of them while it loads. In
/// values.
const LEAST_SHARED: usize = 1024;

/// A graph optimised for this CPU, and its weights.
#[derive(Debug)]
pub(crate) struct SharedWeights {
    /// Holds [`GRAPH`] and [`NOWHERE`], which sessions read while they load.
    folder: TempDir,
    weights: Vec<(String, Arc<DynValue>)>,
}

impl SharedWeights {
    /// Has ONNX Runtime optimise `model`, the bytes of an ONNX file, with what `builder` is set to. It
    /// writes the result to a file in the folder for temporary ones.
    ///
    /// # Errors
    /// [`OnnxRuntimeError`] when no file can be written there or ONNX Runtime refuses the model.
    pub(crate) fn optimise(
        builder: SessionBuilder,
        model: &[u8],
    ) -> Result<Self, OnnxRuntimeError> {
        let unwritable = OnnxRuntimeError::TemporaryFile;
        let folder = TempDir::with_prefix("spotter-model-").map_err(unwritable)?;
        let optimised = folder.path().join(OPTIMISED);
        optimise(builder, model, &optimised)?;
        let bytes = fs::read(&optimised).map_err(unwritable)?;
        fs::remove_file(&optimised).map_err(unwritable)?;
        let mut model = OnnxModel::parse(bytes)?;
        let graph = model.proto.graph.get_or_insert_default();
        let weights = take_weights(graph)?;
        fs::write(folder.path().join(GRAPH), model.to_bytes()).map_err(unwritable)?;
        fs::write(folder.path().join(NOWHERE), []).map_err(unwritable)?;
        Ok(Self { folder, weights })
    }

    /// One more session of the model, which takes the memory of its own runs and no more.
    pub(crate) fn session(&self, builder: SessionBuilder) -> ort::Result<Session> {
        // The graph is optimised already; doing it again would copy the weights.
        let mut builder = builder.with_optimization_level(GraphOptimizationLevel::Disable)?;
        for (name, value) in &self.weights {
            builder = builder.with_initializer(name, Arc::clone(value))?;
        }
        builder.commit_from_file(self.folder.path().join(GRAPH))
    }
}

fn optimise(builder: SessionBuilder, model: &[u8], to: &Path) -> ort::Result<()> {
    // It warns that the file is for this kind of CPU alone. The file does not outlive the process.
    let builder = builder.with_log_level(LogLevel::Error)?.with_optimized_model_path(to)?;
    { builder }.commit_from_memory(model).map(drop)
}

/// Moves the large float tensors out of `graph` into ONNX Runtime's own form.
fn take_weights(graph: &mut GraphProto) -> ort::Result<Vec<(String, Arc<DynValue>)>> {
    let mut weights = Vec::new();
    for tensor in &mut graph.initializer {
        let Some(values) = float_values(tensor).filter(|values| values.len() >= LEAST_SHARED)
        else {
            continue;
        };
        let value = Tensor::from_array((tensor.dims.clone(), values))?.into_dyn();
        weights.push((tensor.name().to_owned(), Arc::new(value)));
        *tensor = elsewhere(tensor);
    }
    Ok(weights)
}

/// `tensor` without its values: said to lie in [`NOWHERE`].
fn elsewhere(tensor: &TensorProto) -> TensorProto {
    let location = StringStringEntryProto {
        key: Some("location".to_owned()),
        value: Some(NOWHERE.to_owned()),
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
