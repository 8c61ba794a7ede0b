//! Every tensor of a model, those in nodes, bodies and functions included.

use super::{
    error::OnnxError,
    proto::{
        AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto,
        tensor_proto::DataLocation,
    },
};

/// Every tensor of `model` whose values are in another file.
pub(super) fn external_tensors(model: &ModelProto) -> Vec<&TensorProto> {
    let mut found = Vec::new();
    let graph = model.graph.iter().flat_map(tensors_of_graph);
    let functions = model.functions.iter().flat_map(|function| &function.node);
    found.extend(graph.chain(functions.flat_map(tensors_of_node)));
    found.retain(|tensor| tensor.data_location() == DataLocation::External);
    found
}

fn tensors_of_graph(graph: &GraphProto) -> Vec<&TensorProto> {
    let mut found: Vec<&TensorProto> = graph.initializer.iter().collect();
    found.extend(graph.sparse_initializer.iter().flat_map(tensors_of_sparse));
    found.extend(graph.node.iter().flat_map(tensors_of_node));
    found
}

fn tensors_of_sparse(sparse: &SparseTensorProto) -> impl Iterator<Item = &TensorProto> {
    sparse.values.iter().chain(&sparse.indices)
}

fn tensors_of_node(node: &NodeProto) -> Vec<&TensorProto> {
    let mut found = Vec::new();
    for attribute in &node.attribute {
        found.extend(attribute.t.iter().chain(&attribute.tensors));
        let sparse = attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors);
        found.extend(sparse.flat_map(tensors_of_sparse));
        found.extend(attribute.g.iter().chain(&attribute.graphs).flat_map(tensors_of_graph));
    }
    found
}

type Change<'c> = dyn FnMut(&mut TensorProto) -> Result<(), OnnxError> + 'c;

/// Calls `change` for the tensors of `model` in the order of [`external_tensors`], which leaves some out.
pub(super) fn for_each_tensor(
    model: &mut ModelProto,
    change: &mut Change<'_>,
) -> Result<(), OnnxError> {
    if let Some(graph) = &mut model.graph {
        for_each_of_graph(graph, change)?;
    }
    let nodes = model.functions.iter_mut().flat_map(|function| &mut function.node);
    for attribute in nodes.flat_map(|node| &mut node.attribute) {
        for_each_of_attribute(attribute, change)?;
    }
    Ok(())
}

fn for_each_of_graph(graph: &mut GraphProto, change: &mut Change<'_>) -> Result<(), OnnxError> {
    graph.initializer.iter_mut().try_for_each(&mut *change)?;
    for sparse in &mut graph.sparse_initializer {
        sparse.values.iter_mut().chain(&mut sparse.indices).try_for_each(&mut *change)?;
    }
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        for_each_of_attribute(attribute, change)?;
    }
    Ok(())
}

fn for_each_of_attribute(
    attribute: &mut AttributeProto,
    change: &mut Change<'_>,
) -> Result<(), OnnxError> {
    attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(&mut *change)?;
    for sparse in attribute.sparse_tensor.iter_mut().chain(&mut attribute.sparse_tensors) {
        sparse.values.iter_mut().chain(&mut sparse.indices).try_for_each(&mut *change)?;
    }
    for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
        for_each_of_graph(graph, change)?;
    }
    Ok(())
}
