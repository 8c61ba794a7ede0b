//! Making the fixed batch of a model dynamic.
//!
//! An export with a fixed batch has it in the shapes of its input and outputs, and in those that inner
//! tensors are reshaped to. A run must show that the changed model gives the same boxes.

use std::collections::HashSet;

use super::{
    graph::{GraphIndex, integer_values, reads},
    model::OnnxModel,
    proto::{
        GraphProto, TensorProto, ValueInfoProto,
        tensor_proto::DataType,
        tensor_shape_proto::{Dimension, dimension::Value as DimValue},
        type_proto::Value as TypeValue,
    },
};

/// A copy of `model`, whose batch is fixed at `batch`, with a dynamic batch.
///
/// The first dimension becomes dynamic in the input, in the outputs, and in every shape that begins with a
/// multiple of `batch` and that a tensor depending on the picture is reshaped to.
#[must_use]
pub fn with_dynamic_batch(model: &OnnxModel, batch: u64) -> OnnxModel {
    let mut changed = model.clone();
    let picture = model.inputs().first().map(|input| input.name.clone()).unwrap_or_default();
    let (Some(graph), Some(whole)) = (&mut changed.proto.graph, &model.proto.graph) else {
        return changed;
    };
    let index = GraphIndex::new(whole);
    let dependent = depending_on(whole, &picture);
    let mut shapes = Vec::new();
    for node in graph.node.iter_mut().filter(|node| node.op_type() == "Reshape") {
        let [data, shape] = &mut node.input[..] else { continue };
        if !dependent.contains(data.as_str()) {
            continue;
        }
        let values = index.constant(shape).and_then(integer_values);
        if let Some(values) = values.and_then(|values| without_batch(values, batch)) {
            // Several nodes may share a constant, so each gets a copy.
            *shape = format!("{shape}_of_any_batch_{}", shapes.len());
            shapes.push(integers(shape, &values));
        }
    }
    graph.initializer.extend(shapes);
    // The declared shapes of inner tensors contain the batch.
    graph.value_info.clear();
    let inputs = graph.input.iter_mut().filter(|input| input.name() == picture);
    for info in inputs.chain(&mut graph.output) {
        make_first_dimension_dynamic(info);
    }
    changed
}

/// The names of all tensors of `graph` that depend on `input`.
fn depending_on<'g>(graph: &'g GraphProto, input: &'g str) -> HashSet<&'g str> {
    let mut dependent = HashSet::from([input]);
    // Nodes are in topological order.
    for node in &graph.node {
        if reads(node).iter().any(|tensor| dependent.contains(tensor)) {
            dependent.extend(node.output.iter().map(String::as_str));
        }
    }
    dependent
}

/// The shape `values` with a dynamic first dimension; `None` where that does not depend on `batch`.
fn without_batch(mut values: Vec<i64>, batch: u64) -> Option<Vec<i64>> {
    let batch = i64::try_from(batch).ok().filter(|batch| *batch > 0)?;
    let (first, others) = values.split_first_mut()?;
    if *first <= 0 || *first % batch != 0 {
        return None;
    }
    if others.iter().all(|size| *size > 0) {
        // Inferred from the number of elements. Attention folds areas of a picture into the batch and back.
        *first = -1;
    } else if *first == batch {
        // Copied from the input, since only one dimension can be inferred.
        *first = 0;
    } else {
        return None;
    }
    Some(values)
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(DataType::Int64 as i32),
        dims: vec![values.len() as i64],
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

fn make_first_dimension_dynamic(info: &mut ValueInfoProto) {
    let value = info.r#type.as_mut().and_then(|info| info.value.as_mut());
    let Some(TypeValue::TensorType(tensor)) = value else { return };
    if let Some(first) = tensor.shape.as_mut().and_then(|shape| shape.dim.first_mut()) {
        let value = Some(DimValue::DimParam("batch".to_owned()));
        *first = Dimension { value, denotation: None };
    }
}
