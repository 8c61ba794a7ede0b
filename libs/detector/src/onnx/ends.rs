//! Changing the ends of a graph: which outputs there are, of which values, and inputs that become constants.

use super::{
    float_ends::{Names, cast_output, detach_output},
    model::OnnxModel,
    proto::{
        NodeProto, TensorProto, tensor_proto::DataType,
        tensor_shape_proto::dimension::Value as DimValue, type_proto::Value as TypeValue,
    },
    tensor_info::ElementType,
};

/// A copy of `model` with only the outputs `names`, in that order, all of 32-bit floats.
#[must_use]
pub fn with_outputs(model: &OnnxModel, names: &[String]) -> OnnxModel {
    let mut changed = model.clone();
    let Some(graph) = &mut changed.proto.graph else { return changed };
    let all = std::mem::take(&mut graph.output);
    let named = |name: &String| all.iter().find(|output| output.name() == name).cloned();
    graph.output = names.iter().filter_map(named).collect();
    let others = changed.outputs().into_iter().filter(|end| end.element != ElementType::Float32);
    let others: Vec<String> = others.map(|end| end.name).collect();
    if let Some(graph) = &mut changed.proto.graph {
        let mut unused = Names::of(graph);
        for name in others {
            cast_output(graph, &mut unused, &name);
        }
    }
    changed
}

/// A copy of `model` whose input `name` is the constant `[[width, height]]`.
#[must_use]
pub fn with_constant_size(model: &OnnxModel, name: &str, (width, height): (u32, u32)) -> OnnxModel {
    let mut changed = model.clone();
    let input = model.inputs().into_iter().find(|input| input.name == name);
    let (Some(graph), Some(input)) = (&mut changed.proto.graph, input) else { return changed };
    graph.input.retain(|input| input.name() != name);
    let sides = [width, height];
    let tensor =
        TensorProto { name: Some(name.to_owned()), dims: vec![1, 2], ..TensorProto::default() };
    let int32 = DataType::Int32 as i32;
    graph.initializer.push(match input.element {
        ElementType::Float32 => TensorProto {
            data_type: Some(DataType::Float as i32),
            float_data: sides.map(|side| side as f32).to_vec(),
            ..tensor
        },
        ElementType::Other(data_type) if data_type == int32 => TensorProto {
            data_type: Some(int32),
            int32_data: sides.map(|side| side as i32).to_vec(),
            ..tensor
        },
        _ => TensorProto {
            data_type: Some(DataType::Int64 as i32),
            int64_data: sides.map(i64::from).to_vec(),
            ..tensor
        },
    });
    changed
}

/// A copy of `model` whose output `name` lacks the last `count` values along `axis`.
#[must_use]
pub fn without_last(model: &OnnxModel, name: &str, axis: usize, count: u64) -> OnnxModel {
    let mut changed = model.clone();
    let Some(graph) = &mut changed.proto.graph else { return changed };
    let mut names = Names::of(graph);
    let inner = detach_output(graph, &mut names, name);
    let mut inputs = vec![inner];
    for value in [0, -i64::try_from(count).unwrap_or(i64::MAX), axis as i64] {
        let constant = names.unused(&format!("{name}_slice"));
        graph.initializer.push(TensorProto {
            name: Some(constant.clone()),
            dims: vec![1],
            data_type: Some(DataType::Int64 as i32),
            int64_data: vec![value],
            ..TensorProto::default()
        });
        inputs.push(constant);
    }
    graph.node.push(NodeProto {
        op_type: Some("Slice".to_owned()),
        name: Some(format!("{name}_without_last")),
        input: inputs,
        output: vec![name.to_owned()],
        ..NodeProto::default()
    });
    for end in graph.output.iter_mut().filter(|end| end.name() == name) {
        let value = end.r#type.as_mut().and_then(|end| end.value.as_mut());
        let Some(TypeValue::TensorType(tensor)) = value else { continue };
        let dimension = tensor.shape.as_mut().and_then(|shape| shape.dim.get_mut(axis));
        if let Some(DimValue::DimValue(size)) = dimension.and_then(|dim| dim.value.as_mut()) {
            *size = size.saturating_sub_unsigned(count);
        }
    }
    changed
}
