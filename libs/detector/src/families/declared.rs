//! What a file declares about its inputs and outputs, as families look at it.

use crate::onnx::{Dimension, OnnxModel, TensorInfo};

/// The most classes; about as many names fit into the description of a model.
pub(super) const MOST_CLASSES: usize = 1 << 16;

/// COCO's classes, for models whose outputs do not show how many they have.
const USUAL_CLASSES: usize = 80;

/// The declarations of a file.
pub(crate) struct Declared<'m> {
    pub(crate) model: &'m OnnxModel,
    /// The inputs beside the one that takes pictures.
    pub(crate) others: Vec<TensorInfo>,
    pub(crate) outputs: Vec<TensorInfo>,
}

/// The ends of a file that a family reads; all others are left out of the installed model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The outputs, in the order in which the family reads them.
    pub(crate) outputs: Vec<String>,
    /// The input for the size of the picture, to which boxes are scaled. It becomes the constant size of the model's input.
    pub(crate) size_input: Option<String>,
    /// What each box of the first output has for a mask.
    pub(crate) masks: Option<Masks>,
}

impl Ends {
    /// These outputs, and nothing else.
    pub(super) fn of(outputs: &[&str]) -> Self {
        let outputs = outputs.iter().map(|name| (*name).to_owned()).collect();
        Self { outputs, size_input: None, masks: None }
    }
}

/// Coefficients of masks at the end of each box of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Masks {
    /// The axis along which the values of a box lie.
    pub(crate) axis: usize,
    /// The coefficients of a box.
    pub(crate) count: u64,
}

/// The shapes of the outputs that a family reads, for one picture: without the batch, where they have one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shapes<'s> {
    pub(crate) outputs: &'s [Vec<u64>],
    /// Width and height of the picture in pixels.
    pub(crate) size: (u32, u32),
    /// The number of class names, where known.
    pub(crate) labels: Option<usize>,
    /// The number of classes by which the graph divides the places of its best scores, if it does.
    pub(crate) ranked: Option<usize>,
}

impl Shapes<'_> {
    /// `values` as a number of classes, if it can be one.
    pub(super) fn classes(values: u64) -> Option<usize> {
        usize::try_from(values).ok().filter(|classes| (1..=MOST_CLASSES).contains(classes))
    }

    /// The number of classes of a model whose outputs name the class of each box.
    pub(super) fn classes_by_name(&self) -> usize {
        self.ranked.or(self.labels).unwrap_or(USUAL_CLASSES)
    }
}

impl Declared<'_> {
    /// The output of this name.
    pub(super) fn output(&self, name: &str) -> Option<&TensorInfo> {
        self.outputs.iter().find(|output| output.name == name)
    }

    /// The multiple of which sides of pictures are, for models whose outputs do not show it.
    pub(crate) fn multiple_of(&self) -> u32 {
        const USUAL: u32 = 32;
        let stated = self.model.metadata("stride").and_then(|text| text.trim().parse().ok());
        stated.filter(|stride| (1..=128).contains(stride)).unwrap_or(USUAL)
    }

    /// Whether the graph has a node of this type.
    pub(super) fn has_operator(&self, operator: &str) -> bool {
        let mut nodes = self.model.proto.graph.iter().flat_map(|graph| &graph.node);
        nodes.any(|node| node.op_type() == operator)
    }

    /// Whether its first convolution divides the picture into patches, as in a vision transformer.
    pub(super) fn has_patches(&self) -> bool {
        const LEAST: i64 = 12;
        let mut nodes = self.model.proto.graph.iter().flat_map(|graph| &graph.node);
        let first = nodes.find(|node| node.op_type() == "Conv");
        let kernel = first.and_then(|node| {
            node.attribute.iter().find(|attribute| attribute.name() == "kernel_shape")
        });
        kernel.is_some_and(|kernel| kernel.ints.iter().all(|&side| side >= LEAST))
    }

    /// The ends of a file that has a picture as input and one output of boxes `[batch, …, …]`, with the values of a
    /// box along `axis`. Levels of the head, as exported for training, and prototypes of masks may follow it.
    pub(super) fn one_output(&self, axis: usize) -> Option<Ends> {
        let boxes = self.outputs.first().filter(|boxes| boxes.element.is_float())?;
        if !self.others.is_empty() || !(boxes.shape.is_empty() || boxes.shape.len() == 3) {
            return None;
        }
        let masks = match &self.outputs[1..] {
            [] => None,
            // With masks, the values of a box are as many at any size of the picture.
            [_] if boxes.shape.get(axis).is_some_and(|values| values.fixed().is_none()) => {
                return None;
            }
            [prototypes] => Some(Masks { axis, count: mask_coefficients(prototypes)? }),
            [_, _, _, ..] if boxes.shape.len() == 3 => None,
            _ => return None,
        };
        Some(Ends { masks, ..Ends::of(&[&boxes.name]) })
    }

    /// The shapes of the outputs that `ends` names, for one picture, if all are declared.
    pub(crate) fn shapes(&self, ends: &Ends) -> Option<Vec<Vec<u64>>> {
        let shape = |name: &String| {
            let (_, rest) = self.output(name)?.shape.split_first()?;
            rest.iter().map(Dimension::fixed).collect::<Option<Vec<u64>>>()
        };
        let mut shapes = ends.outputs.iter().map(shape).collect::<Option<Vec<_>>>()?;
        if let (Some(masks), Some(first)) = (ends.masks, shapes.first_mut()) {
            let values = first.get_mut(masks.axis - 1)?;
            *values = values.saturating_sub(masks.count);
        }
        Some(shapes)
    }
}

/// The channels of the prototypes `[batch, channels, height, width]` of which masks are made.
fn mask_coefficients(prototypes: &TensorInfo) -> Option<u64> {
    match prototypes.shape[..] {
        [_, Dimension::Fixed(count), _, _] => Some(count),
        _ => None,
    }
}
