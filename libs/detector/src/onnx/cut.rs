//! Cutting the head off a YOLOv8 or YOLO11 export.
//!
//! A plain export ends in anchors that are fixed at one picture size, a sigmoid for every class of
//! every cell and a softmax for every box. Ending the graph at the last convolutions, two for each
//! level, makes it fully convolutional: height and width become dynamic, and only cells with an object
//! are decoded. The convolutions are found by the structure of the graph, never by names.

use std::collections::HashSet;

use super::{
    float_ends::{Names, cast, has_half_floats},
    graph::{FLOAT32, GraphIndex, needed, real_values},
    model::OnnxModel,
    proto::{
        NodeProto, TensorShapeProto, TypeProto, ValueInfoProto,
        tensor_shape_proto::{Dimension, dimension::Value},
        type_proto::{Tensor, Value as TypeValue},
    },
};

/// Why a head cannot be cut off. The model still runs with its plain head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotCut {
    /// The graph has no output.
    #[error("the graph has no output")]
    NoOutput,
    /// The weights of a convolution are computed, so its number of channels is unknown.
    #[error("the weights of convolution '{0}' are not constant")]
    UnknownWeights(String),
    /// Boxes do not come from a distribution over distances.
    #[error(
        "no convolution takes the mean over distance bins (the DFL), so boxes are not YOLOv8's"
    )]
    NoDistanceBins,
    /// Box and class convolutions have the same number of channels.
    #[error("box and class convolutions both have {0} channels, so they cannot be distinguished")]
    Ambiguous(usize),
    /// The last convolutions are not one box and one class convolution for each level.
    #[error(
        "expected as many convolutions with {box_channels} channels (boxes) as with {classes} \
         (classes) before the output, found convolutions with {found:?} channels"
    )]
    UnexpectedConvolutions {
        /// Channels of a box convolution: 4 sides × distance bins.
        box_channels: usize,
        /// Channels of a class convolution.
        classes: usize,
        /// Channels of the convolutions that were found.
        found: Vec<usize>,
    },
    /// The convolutions give more than boxes and class scores.
    #[error("beside its box each cell has {values:?} values, which are not class scores alone")]
    OtherTask {
        /// The values for each cell of the convolutions of a level, without those of its box.
        values: Vec<usize>,
    },
    /// The boxes of the cut graph are not those of the whole one.
    #[error("the cut model does not give the boxes of the whole one: {0}")]
    Differs(String),
}

/// The convolutions that a YOLOv8 head ends in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadConvolutions {
    /// Outputs of the box convolutions, `[batch, 4 × bins, h, w]`, one for each level.
    pub boxes: Vec<String>,
    /// Outputs of the class convolutions, `[batch, classes, h, w]`, one for each level, not in the
    /// order of the boxes.
    pub scores: Vec<String>,
    /// The bins of the distance to each side; 16 in all published models.
    pub bins: usize,
}

/// A tensor of the graph that becomes an output of the cut graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOutput {
    /// Its name in the graph.
    pub tensor: String,
    /// The name of the output in the cut graph.
    pub name: String,
    /// Its channels: the second of four dimensions.
    pub channels: usize,
}

/// The height and width that the cut graph declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputSize {
    /// Any multiple of the largest stride.
    Dynamic,
    /// The size that the model was exported with.
    Fixed {
        /// Height in pixels.
        height: u32,
        /// Width in pixels.
        width: u32,
    },
}

struct Convolution<'g> {
    output: &'g str,
    channels: usize,
}

/// Finds the convolutions in which the head of `model` ends, walking back from its first output.
///
/// # Errors
/// [`CannotCut`] names the part of a YOLOv8 head that is missing.
pub fn find_head(model: &OnnxModel, classes: usize) -> Result<HeadConvolutions, CannotCut> {
    let graph = model.proto.graph.as_ref().ok_or(CannotCut::NoOutput)?;
    let output = graph.output.first().ok_or(CannotCut::NoOutput)?;
    let index = GraphIndex::new(graph);
    let (convolutions, bins) = last_convolutions(&index, output.name())?;
    let bins = bins.ok_or(CannotCut::NoDistanceBins)?;
    let box_channels = 4 * bins;
    if box_channels == classes {
        return Err(CannotCut::Ambiguous(classes));
    }
    let with_channels = |channels: usize| -> Vec<String> {
        let matching = convolutions.iter().filter(|conv| conv.channels == channels);
        matching.map(|conv| conv.output.to_owned()).collect()
    };
    let (boxes, scores) = (with_channels(box_channels), with_channels(classes));
    if boxes.is_empty()
        || boxes.len() != scores.len()
        || boxes.len() + scores.len() != convolutions.len()
    {
        let found: Vec<usize> = convolutions.iter().map(|conv| conv.channels).collect();
        if let Some(values) = values_of_other_task(&found, box_channels, classes) {
            return Err(CannotCut::OtherTask { values });
        }
        return Err(CannotCut::UnexpectedConvolutions { box_channels, classes, found });
    }
    Ok(HeadConvolutions { boxes, scores, bins })
}

/// The channels of class convolutions and of further ones, where each level has one of each and their sum is
/// `classes`: heads for segmentation, poses and oriented boxes.
fn values_of_other_task(found: &[usize], boxes: usize, classes: usize) -> Option<Vec<usize>> {
    let levels = found.iter().filter(|channels| **channels == boxes).count();
    let mut others: Vec<usize> = found.iter().copied().filter(|&c| c != boxes).collect();
    others.sort_unstable();
    if levels == 0 || others.len() != 2 * levels {
        return None;
    }
    let (each, more) = others.split_at(levels);
    let are_equal = |channels: &[usize]| channels.iter().all(|c| *c == channels[0]);
    let is_sum = each[0].checked_add(more[0]) == Some(classes);
    (are_equal(each) && are_equal(more) && is_sum).then(|| vec![each[0], more[0]])
}

/// The convolutions nearest to `output` on every path back from it, and the bins of the DFL passed.
fn last_convolutions<'g>(
    index: &GraphIndex<'g>,
    output: &'g str,
) -> Result<(Vec<Convolution<'g>>, Option<usize>), CannotCut> {
    let (mut convolutions, mut bins) = (Vec::new(), None);
    let mut seen = HashSet::new();
    let mut waiting = vec![output];
    while let Some(tensor) = waiting.pop() {
        let Some(place) = index.producer(tensor) else { continue };
        if !seen.insert(place) {
            continue;
        }
        let node = index.node(place);
        match node.op_type() {
            // Only a size depends on this, as in the anchors of a dynamic export.
            "Shape" => {}
            "Conv" => match distance_bins(index, node) {
                Some(count) => {
                    bins = Some(count);
                    waiting.extend(node.input.first().map(String::as_str));
                }
                None => convolutions.push(convolution(index, node)?),
            },
            _ => waiting.extend(node.input.iter().map(String::as_str)),
        }
    }
    Ok((convolutions, bins))
}

fn convolution<'g>(
    index: &GraphIndex<'g>,
    node: &'g NodeProto,
) -> Result<Convolution<'g>, CannotCut> {
    let weights = node.input.get(1).and_then(|name| index.constant(name));
    let channels = weights.and_then(|tensor| usize::try_from(*tensor.dims.first()?).ok());
    match (node.output.first(), channels) {
        (Some(output), Some(channels)) => Ok(Convolution { output, channels }),
        _ => Err(CannotCut::UnknownWeights(node.name().to_owned())),
    }
}

/// The bins of a DFL: a 1×1 convolution to one channel with the fixed weights 0, 1, 2 …, which
/// takes the mean of a distribution over distances. `None` for any other convolution, such as the class
/// convolution of a model with one class, which has one channel as well.
fn distance_bins(index: &GraphIndex<'_>, node: &NodeProto) -> Option<usize> {
    let weights = index.constant(node.input.get(1)?)?;
    let [1, bins, 1, 1] = weights.dims[..] else { return None };
    let values = real_values(weights)?;
    let is_ramp = values.iter().enumerate().all(|(place, &value)| value == place as f32);
    // The declared number of bins must be that of the values in the file.
    let bins = usize::try_from(bins).ok().filter(|bins| *bins == values.len())?;
    (is_ramp && bins > 1).then_some(bins)
}

/// A copy of `model` that ends at `outputs`, without the parts they do not depend on.
///
/// The input becomes `[batch, 3, height, width]`, with height and width as `size` says.
#[must_use]
pub fn end_at(model: &OnnxModel, outputs: &[NewOutput], size: InputSize) -> OnnxModel {
    let mut cut = model.clone();
    let picture = model.inputs().first().map(|input| input.name.clone()).unwrap_or_default();
    let (Some(graph), Some(whole)) = (&mut cut.proto.graph, &model.proto.graph) else {
        return cut;
    };
    let ends: Vec<&str> = outputs.iter().map(|output| output.tensor.as_str()).collect();
    let (nodes, tensors) = needed(whole, &ends);
    // The new outputs may not be 32-bit floats.
    let is_half = has_half_floats(model);
    let is_needed = |name: &str| tensors.contains(name);

    let mut place = 0..;
    graph.node.retain(|_| place.next().is_some_and(|place| nodes.contains(&place)));
    graph.initializer.retain(|tensor| is_needed(tensor.name()));
    graph
        .sparse_initializer
        .retain(|tensor| tensor.values.as_ref().is_some_and(|values| is_needed(values.name())));
    graph.quantization_annotation.retain(|note| is_needed(note.tensor_name()));
    graph.input.retain(|input| input.name() == picture || is_needed(input.name()));
    // The declared shapes of inner tensors are those of the exported size.
    graph.value_info.clear();

    let mut names = Names::of(graph);
    for output in outputs {
        let end = if is_half { names.unused(&output.name) } else { output.name.clone() };
        for node in &mut graph.node {
            let tensors = node.input.iter_mut().chain(&mut node.output);
            tensors.filter(|tensor| **tensor == output.tensor).for_each(|t| t.clone_from(&end));
        }
        if is_half {
            graph.node.push(cast(&end, &output.name, FLOAT32));
        }
    }
    graph.output = outputs.iter().map(output_info).collect();
    for input in graph.input.iter_mut().filter(|input| input.name() == picture) {
        *input = picture_info(&picture, size);
    }
    cut
}

fn output_info(output: &NewOutput) -> ValueInfoProto {
    let shape = [any("batch"), exactly(output.channels as i64), any("rows"), any("columns")];
    float_info(&output.name, shape)
}

fn picture_info(name: &str, size: InputSize) -> ValueInfoProto {
    let (height, width) = match size {
        InputSize::Dynamic => (any("height"), any("width")),
        InputSize::Fixed { height, width } => (exactly(height.into()), exactly(width.into())),
    };
    float_info(name, [any("batch"), exactly(3), height, width])
}

fn float_info(name: &str, shape: [Value; 4]) -> ValueInfoProto {
    let dim = shape.map(|value| Dimension { value: Some(value), denotation: None }).to_vec();
    let tensor = Tensor { elem_type: Some(FLOAT32), shape: Some(TensorShapeProto { dim }) };
    let value = Some(TypeValue::TensorType(tensor));
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value, denotation: None }),
        ..ValueInfoProto::default()
    }
}

fn any(name: &str) -> Value {
    Value::DimParam(name.to_owned())
}

fn exactly(size: i64) -> Value {
    Value::DimValue(size)
}
