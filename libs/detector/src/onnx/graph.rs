//! Questions about a graph: who makes a tensor, which constants it holds, what it needs.

use std::collections::{HashMap, HashSet};

use super::proto::{GraphProto, NodeProto, TensorProto};

/// A graph with its nodes and constants found by the names of their tensors.
pub(super) struct GraphIndex<'g> {
    producers: HashMap<&'g str, usize>,
    constants: HashMap<&'g str, &'g TensorProto>,
    nodes: &'g [NodeProto],
}

impl<'g> GraphIndex<'g> {
    pub(super) fn new(graph: &'g GraphProto) -> Self {
        let mut producers = HashMap::new();
        let mut constants: HashMap<_, _> =
            graph.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect();
        for (index, node) in graph.node.iter().enumerate() {
            producers.extend(node.output.iter().map(|output| (output.as_str(), index)));
            if let Some(value) = constant_of(node) {
                constants.extend(node.output.iter().map(|output| (output.as_str(), value)));
            }
        }
        Self { producers, constants, nodes: &graph.node }
    }

    /// The place of the node that computes `tensor`; `None` for inputs and initialisers.
    pub(super) fn producer(&self, tensor: &str) -> Option<usize> {
        self.producers.get(tensor).copied()
    }

    pub(super) fn node(&self, index: usize) -> &'g NodeProto {
        &self.nodes[index]
    }

    /// The value of `tensor` if it is an initialiser or the output of a `Constant` node.
    pub(super) fn constant(&self, tensor: &str) -> Option<&'g TensorProto> {
        self.constants.get(tensor).copied()
    }
}

fn constant_of(node: &NodeProto) -> Option<&TensorProto> {
    if node.op_type() != "Constant" {
        return None;
    }
    node.attribute.iter().find(|attribute| attribute.name() == "value")?.t.as_ref()
}

/// Every tensor that `node` reads, those read inside its `If` and `Loop` bodies included.
pub(super) fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).collect();
    for attribute in &node.attribute {
        for body in attribute.g.iter().chain(&attribute.graphs) {
            names.extend(body.node.iter().flat_map(reads));
            // A body may hand an outer tensor straight back.
            names.extend(body.output.iter().map(|output| output.name()));
        }
    }
    names
}

/// The nodes of `graph` that `outputs` depend on, by place, and every tensor these nodes touch.
pub(super) fn needed<'g>(
    graph: &'g GraphProto,
    outputs: &[&'g str],
) -> (HashSet<usize>, HashSet<&'g str>) {
    let index = GraphIndex::new(graph);
    let mut nodes = HashSet::new();
    let mut tensors = HashSet::new();
    let mut waiting = outputs.to_vec();
    while let Some(tensor) = waiting.pop() {
        if !tensors.insert(tensor) {
            continue;
        }
        if let Some(place) = index.producer(tensor)
            && nodes.insert(place)
        {
            waiting.extend(reads(index.node(place)));
        }
    }
    (nodes, tensors)
}

/// The 32-bit floats of `tensor`, or `None` if it holds something else.
pub(crate) fn float_values(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type() != super::FLOAT32 {
        return None;
    }
    if !tensor.float_data.is_empty() {
        return Some(tensor.float_data.clone());
    }
    let (values, rest) = tensor.raw_data().as_chunks::<4>();
    rest.is_empty().then(|| values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}
