//! Converting the inputs and outputs of a model to 32-bit floats.
//!
//! A `Cast` is added at each input and output of another width; the network between them is unchanged.

use std::collections::HashSet;

use super::{
    graph::FLOAT32,
    model::OnnxModel,
    proto::{
        AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto,
        attribute_proto::AttributeType, tensor_proto::DataType, type_proto::Value as TypeValue,
    },
};

/// A copy of `model` with 32-bit floats as inputs and outputs, or `None` if it has these.
#[must_use]
pub fn with_float32_ends(model: &OnnxModel) -> Option<OnnxModel> {
    let ends = |tensors: Vec<super::TensorInfo>| -> Vec<(String, i32)> {
        let others = tensors.into_iter().filter_map(|tensor| match tensor.element {
            super::ElementType::OtherFloat(data_type) => Some((tensor.name, data_type)),
            _ => None,
        });
        others.collect()
    };
    let (inputs, outputs) = (ends(model.inputs()), ends(model.outputs()));
    if inputs.is_empty() && outputs.is_empty() {
        return None;
    }
    let mut converted = model.clone();
    let graph = converted.proto.graph.as_mut()?;
    let mut names = Names::of(graph);
    let mut casts = Vec::new();
    for (name, data_type) in inputs {
        let inner = names.unused(&name);
        for node in &mut graph.node {
            rename_reads(node, &name, &inner);
        }
        casts.push(cast(&name, &inner, data_type));
        set_float32(&mut graph.input, &name);
    }
    graph.node.splice(0..0, casts);
    for (name, _) in outputs {
        cast_output(graph, &mut names, &name);
    }
    Some(converted)
}

/// Adds a `Cast` to 32-bit floats at the output `name`.
pub(super) fn cast_output(graph: &mut GraphProto, names: &mut Names, name: &str) {
    let inner = detach_output(graph, names, name);
    graph.node.push(cast(&inner, name, FLOAT32));
    set_float32(&mut graph.output, name);
}

/// Frees the name of an output: the tensor gets another one, which is returned, and a node that is added next can make
/// the output of it.
pub(super) fn detach_output(graph: &mut GraphProto, names: &mut Names, name: &str) -> String {
    let inner = names.unused(name);
    for node in &mut graph.node {
        rename_reads(node, name, &inner);
        node.output.iter_mut().filter(|output| **output == name).for_each(|output| {
            output.clone_from(&inner);
        });
    }
    inner
}

/// Whether `model` computes with 16-bit floats anywhere.
#[must_use]
pub fn has_half_floats(model: &OnnxModel) -> bool {
    let Some(graph) = &model.proto.graph else { return false };
    let is_half = |data_type: i32| {
        matches!(DataType::try_from(data_type), Ok(DataType::Float16 | DataType::Bfloat16))
    };
    let holds_half = |tensor: &TensorProto| is_half(tensor.data_type());
    let makes_half = |node: &NodeProto| {
        node.attribute.iter().any(|attribute| {
            let casts = node.op_type() == "Cast" && attribute.name() == "to";
            casts && is_half(attribute.i() as i32) || attribute.t.as_ref().is_some_and(holds_half)
        })
    };
    graph.initializer.iter().any(holds_half) || graph.node.iter().any(makes_half)
}

/// The names that are in use in a graph.
pub(super) struct Names(HashSet<String>);

impl Names {
    pub(super) fn of(graph: &GraphProto) -> Self {
        let ends = graph.input.iter().chain(&graph.output).map(|info| info.name());
        let of_nodes = graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output));
        let names = ends.map(str::to_owned).chain(of_nodes.cloned());
        Self(names.chain(graph.initializer.iter().map(|tensor| tensor.name().to_owned())).collect())
    }

    /// An unused name derived from `name`.
    pub(super) fn unused(&mut self, name: &str) -> String {
        let mut candidate = format!("{name}_inner");
        while !self.0.insert(candidate.clone()) {
            candidate.push('_');
        }
        candidate
    }
}

/// Makes `node`, and the bodies within it, read `to` instead of `from`.
fn rename_reads(node: &mut NodeProto, from: &str, to: &str) {
    let rename = |name: &mut String| {
        if name == from {
            to.clone_into(name);
        }
    };
    node.input.iter_mut().for_each(rename);
    for attribute in &mut node.attribute {
        for body in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            for inner in &mut body.node {
                rename_reads(inner, from, to);
            }
            for output in body.output.iter_mut().filter(|output| output.name() == from) {
                output.name = Some(to.to_owned());
            }
        }
    }
}

/// A node that converts `from` into `to`, which has elements of `data_type`.
pub(super) fn cast(from: &str, to: &str, data_type: i32) -> NodeProto {
    NodeProto {
        op_type: Some("Cast".to_owned()),
        name: Some(format!("{to}_cast")),
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        attribute: vec![AttributeProto {
            name: Some("to".to_owned()),
            r#type: Some(AttributeType::Int as i32),
            i: Some(data_type.into()),
            ..AttributeProto::default()
        }],
        ..NodeProto::default()
    }
}

fn set_float32(ends: &mut [ValueInfoProto], name: &str) {
    for end in ends.iter_mut().filter(|end| end.name() == name) {
        let value = end.r#type.as_mut().and_then(|end| end.value.as_mut());
        if let Some(TypeValue::TensorType(tensor)) = value {
            tensor.elem_type = Some(FLOAT32);
        }
    }
}
