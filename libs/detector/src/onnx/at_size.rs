//! A plain YOLOv8 export changed to another input size.
//!
//! Only the benchmark needs it, to compare the plain and the cut graph on the same tensor: a plain export
//! takes one size only. Its anchors, their strides and their number are constants, which are replaced;
//! everything else stays.

use super::{
    graph::{float_values, integer_values},
    model::OnnxModel,
    proto::{
        GraphProto, TensorProto, ValueInfoProto, tensor_shape_proto::dimension::Value as DimValue,
        type_proto::Value as TypeValue,
    },
};

/// The graph is not a plain YOLOv8 export of one size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the graph is not a plain YOLOv8 export of one size: {0}")]
pub struct NotPlain(String);

/// The cells of a head, level by level, for one picture size.
struct Cells {
    /// The centre of each in units of its stride: all x, then all y.
    anchors: Vec<f32>,
    /// The stride of each in pixels.
    strides: Vec<f32>,
}

impl Cells {
    fn of(levels: &[f32], (width, height): (u32, u32)) -> Self {
        let (mut x, mut y, mut strides) = (Vec::new(), Vec::new(), Vec::new());
        for &stride in levels {
            let along = |side: u32| (side as f32 / stride) as u32;
            for row in 0..along(height) {
                for column in 0..along(width) {
                    x.push(column as f32 + 0.5);
                    y.push(row as f32 + 0.5);
                    strides.push(stride);
                }
            }
        }
        x.append(&mut y);
        Self { anchors: x, strides }
    }

    fn count(&self) -> i64 {
        self.strides.len() as i64
    }
}

/// The same model for pictures of `width` × `height` pixels, multiples of its largest stride.
///
/// # Errors
/// [`NotPlain`] when the input has no fixed size or the strides of its cells are no constant.
pub fn at_size(model: &OnnxModel, width: u32, height: u32) -> Result<OnnxModel, NotPlain> {
    let (old_width, old_height) = input_size(model)?;
    let mut model = model.clone();
    let graph = model.proto.graph.as_mut().ok_or_else(|| NotPlain("there is no graph".into()))?;
    let levels = levels(graph)?;
    let old = Cells::of(&levels, (old_width, old_height));
    let new = Cells::of(&levels, (width, height));
    for tensor in constants(graph) {
        rewrite(tensor, &old, &new);
    }
    for input in &mut graph.input {
        set_dimensions(input, &[1, 3, i64::from(height), i64::from(width)]);
    }
    for output in &mut graph.output {
        replace_dimension(output, old.count(), new.count());
    }
    // The declared shapes of inner tensors are those of the old size.
    graph.value_info.clear();
    Ok(model)
}

fn input_size(model: &OnnxModel) -> Result<(u32, u32), NotPlain> {
    let inputs = model.inputs();
    let sides: Option<Vec<u64>> =
        inputs.first().and_then(|input| input.shape.iter().map(|side| side.fixed()).collect());
    match sides.as_deref() {
        Some(&[1, 3, height, width]) => Ok((width as u32, height as u32)),
        _ => Err(NotPlain(format!("its input is {inputs:?}"))),
    }
}

/// Every constant of the graph, as an initialiser or as the value of a `Constant` node.
fn constants(graph: &mut GraphProto) -> impl Iterator<Item = &mut TensorProto> {
    let of_nodes = graph.node.iter_mut().filter(|node| node.op_type() == "Constant");
    let of_nodes = of_nodes.flat_map(|node| &mut node.attribute).filter_map(|a| a.t.as_mut());
    graph.initializer.iter_mut().chain(of_nodes)
}

/// The strides of the levels, in the order of their cells, from the constant with one value for each cell.
fn levels(graph: &mut GraphProto) -> Result<Vec<f32>, NotPlain> {
    let of_cells = |tensor: &mut TensorProto| match tensor.dims[..] {
        [1, cells] if cells > 1 => float_values(tensor),
        _ => None,
    };
    let mut strides = constants(graph)
        .find_map(of_cells)
        .ok_or_else(|| NotPlain("no constant holds a stride for each cell".into()))?;
    strides.dedup();
    if strides.iter().all(|stride| *stride >= 1.0) {
        return Ok(strides);
    }
    Err(NotPlain(format!("its strides are {strides:?}")))
}

fn rewrite(tensor: &mut TensorProto, old: &Cells, new: &Cells) {
    let (before, after) = (old.count(), new.count());
    if let Some(mut values) = integer_values(tensor) {
        // A shape with the number of cells in it.
        values.iter_mut().filter(|value| **value == before).for_each(|value| *value = after);
        tensor.int64_data.clear();
        set_raw(tensor, values.iter().flat_map(|value| value.to_le_bytes()).collect());
        return;
    }
    let floats = match tensor.dims[..] {
        [1, 2, cells] if cells == before => &new.anchors,
        [1, cells] if cells == before => &new.strides,
        _ => return,
    };
    let raw = floats.iter().flat_map(|value| value.to_le_bytes()).collect();
    if let Some(last) = tensor.dims.last_mut() {
        *last = after;
    }
    tensor.float_data.clear();
    set_raw(tensor, raw);
}

fn set_raw(tensor: &mut TensorProto, bytes: Vec<u8>) {
    tensor.raw_data = Some(bytes.into());
}

fn dimensions(info: &mut ValueInfoProto) -> Option<impl Iterator<Item = &mut Option<DimValue>>> {
    let Some(TypeValue::TensorType(tensor)) = info.r#type.as_mut()?.value.as_mut() else {
        return None;
    };
    Some(tensor.shape.as_mut()?.dim.iter_mut().map(|dimension| &mut dimension.value))
}

fn set_dimensions(info: &mut ValueInfoProto, sides: &[i64]) {
    for (dimension, side) in dimensions(info).into_iter().flatten().zip(sides) {
        *dimension = Some(DimValue::DimValue(*side));
    }
}

fn replace_dimension(info: &mut ValueInfoProto, before: i64, after: i64) {
    for dimension in dimensions(info).into_iter().flatten() {
        if *dimension == Some(DimValue::DimValue(before)) {
            *dimension = Some(DimValue::DimValue(after));
        }
    }
}
