//! Queries on a graph: producers of tensors, constants, dependencies.

use std::collections::{HashMap, HashSet};

use super::proto::{GraphProto, NodeProto, TensorProto, tensor_proto::DataType};

/// `TensorProto.DataType.FLOAT`, the type of inputs and outputs.
pub(super) const FLOAT32: i32 = DataType::Float as i32;

/// A graph with an index of its nodes and constants by the names of their tensors.
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
            // Exporters pass shared weights through `Identity`, and 16-bit ones through `Cast`. Nodes are in
            // topological order.
            if matches!(node.op_type(), "Identity" | "Cast")
                && let Some(&value) =
                    node.input.first().and_then(|name| constants.get(name.as_str()))
            {
                constants.extend(node.output.iter().map(|output| (output.as_str(), value)));
            }
        }
        Self { producers, constants, nodes: &graph.node }
    }

    /// The index of the node that computes `tensor`; `None` for inputs and initialisers.
    pub(super) fn producer(&self, tensor: &str) -> Option<usize> {
        self.producers.get(tensor).copied()
    }

    pub(super) fn node(&self, index: usize) -> &'g NodeProto {
        &self.nodes[index]
    }

    /// The value of `tensor` if it is an initialiser or the output of a `Constant` node. Behind a `Cast` it
    /// is the value before, in its own type.
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
            // A body may return an outer tensor.
            names.extend(body.output.iter().map(|output| output.name()));
        }
    }
    names
}

/// The indices of the nodes of `graph` that `outputs` depend on, and all tensors of these nodes.
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

/// The floats of `tensor`, of 16 or 32 bits, or `None` if it holds something else.
pub(super) fn real_values(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type() != DataType::Float16 as i32 {
        return float_values(tensor);
    }
    if !tensor.int32_data.is_empty() {
        let values = tensor.int32_data.iter();
        return values.map(|&bits| u16::try_from(bits).ok().map(half_to_float)).collect();
    }
    let (values, rest) = tensor.raw_data().as_chunks::<2>();
    let values = values.iter().map(|&bytes| half_to_float(u16::from_le_bytes(bytes)));
    rest.is_empty().then(|| values.collect())
}

/// The value of a 16-bit float (IEEE 754 binary16).
fn half_to_float(bits: u16) -> f32 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let fraction = f32::from(bits & 0x3ff);
    match i32::from(bits >> 10 & 0x1f) {
        0 => sign * fraction * 2_f32.powi(-24),
        0x1f if fraction == 0.0 => sign * f32::INFINITY,
        0x1f => f32::NAN,
        exponent => sign * (1024.0 + fraction) * 2_f32.powi(exponent - 25),
    }
}

/// The 64-bit integers of `tensor`, or `None` if it holds something else.
pub(super) fn integer_values(tensor: &TensorProto) -> Option<Vec<i64>> {
    if tensor.data_type() != DataType::Int64 as i32 {
        return None;
    }
    if !tensor.int64_data.is_empty() {
        return Some(tensor.int64_data.clone());
    }
    let (values, rest) = tensor.raw_data().as_chunks::<8>();
    rest.is_empty().then(|| values.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect())
}

/// The 32-bit floats of `tensor`, or `None` if it holds something else.
pub(crate) fn float_values(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type() != FLOAT32 {
        return None;
    }
    if !tensor.float_data.is_empty() {
        return Some(tensor.float_data.clone());
    }
    let (values, rest) = tensor.raw_data().as_chunks::<4>();
    rest.is_empty().then(|| values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_have_their_values() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x8000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x4b80, 15.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x7bff, 65504.0),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(half_to_float(bits), value, "{bits:#06x}");
        }
        assert!(half_to_float(0x7e00).is_nan());
    }
}
