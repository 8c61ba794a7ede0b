//! Telling what kind of detector a file is, from its inputs, outputs and metadata alone.

use std::path::Path;

use domain::LabelMap;

use crate::{
    error::ModelError,
    labels,
    onnx::{Dimension, OnnxModel, TensorInfo, parse_names},
};

/// Pixels per cell of the three levels that every supported detector has.
pub(super) const STRIDES: [u32; 3] = [8, 16, 32];

/// The reference's input size, for files that leave it open.
const DEFAULT_SIDE: u32 = 640;

/// An end-to-end head gives at most this many boxes; the published ones give 300.
const MOST_QUERIES: u64 = 1000;

/// What kind of detector a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// YOLOv8 or YOLO11 with its plain head.
    Yolov8,
    /// YOLOX with its plain head.
    Yolox,
}

/// What can be told about a file without running it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Recognised {
    pub(super) family: Family,
    pub(super) classes: usize,
    /// The input's width and height in pixels; what to run it at where the file leaves it open.
    pub(super) size: (u32, u32),
    /// Whether the file takes other sizes too.
    pub(super) is_size_free: bool,
}

/// Tells what the file at `path` is.
pub(super) fn recognise(path: &Path, model: &OnnxModel) -> Result<Recognised, ModelError> {
    let (inputs, outputs) = (model.inputs(), model.outputs());
    let refuse = |expected: &str| ModelError::NotUnderstood {
        path: path.to_owned(),
        found: describe(model),
        expected: expected.to_owned(),
    };
    let not_yet =
        |kind| ModelError::NotSupportedYet { path: path.to_owned(), kind, found: describe(model) };
    if is_query_based(&outputs) {
        return Err(not_yet("a detector with queries (RT-DETR, D-FINE)"));
    }
    if let Some(task) = model.metadata("task").filter(|task| *task != "detect") {
        return Err(refuse(&format!("a model for the task 'detect', not '{task}'")));
    }
    let [input] = &inputs[..] else { return Err(refuse("one input, the picture")) };
    let (size, is_size_free) = picture_size(model, input)
        .ok_or_else(|| refuse("an input of float32 [batch, 3, height, width]"))?;
    let [output] = &outputs[..] else { return Err(refuse(EXPECTED_OUTPUTS)) };
    let [_, rows, columns] = &output.shape[..] else { return Err(refuse(EXPECTED_OUTPUTS)) };
    if !output.is_float32 {
        return Err(refuse("an output of float32"));
    }
    let cells = cells_at(size);
    let recognised = |family, width: u64, fixed: u64| {
        let classes = usize::try_from(width - fixed).unwrap_or(usize::MAX);
        Recognised { family, classes, size, is_size_free }
    };
    match (rows, columns) {
        (Dimension::Fixed(rows), Dimension::Fixed(width)) if *rows == cells && *width > 5 => {
            Ok(recognised(Family::Yolox, *width, 5))
        }
        (Dimension::Fixed(rows), Dimension::Fixed(6)) if *rows <= MOST_QUERIES => {
            Err(not_yet("an end-to-end detector (YOLO26, YOLOv10)"))
        }
        (Dimension::Fixed(width), Dimension::Fixed(found)) if *found == cells && *width > 4 => {
            Ok(recognised(Family::Yolov8, *width, 4))
        }
        (Dimension::Fixed(width), Dimension::Free(_)) if *width > 4 => {
            Ok(recognised(Family::Yolov8, *width, 4))
        }
        _ => Err(refuse(EXPECTED_OUTPUTS)),
    }
}

const EXPECTED_OUTPUTS: &str = "one output of float32: [batch, 4 + classes, cells] (YOLOv8, YOLO11) \
                                or [batch, cells, 5 + classes] (YOLOX), with one cell for each 8×8, \
                                16×16 and 32×32 pixels of the input";

/// The labels of the model: those given, those in the file, or COCO's if it has as many classes.
pub(super) fn labels_of(
    path: &Path,
    model: &OnnxModel,
    classes: usize,
    given: Option<&LabelMap>,
) -> Result<LabelMap, ModelError> {
    let in_file = || model.metadata("names").and_then(parse_names).map(LabelMap::new);
    let (labels, origin) = if let Some(given) = given {
        (given.clone(), "the file of labels")
    } else if let Some(names) = in_file() {
        (names, "the file's own metadata")
    } else if labels::coco().len() == classes {
        (labels::coco(), "the COCO list")
    } else {
        return Err(ModelError::LabelsNeeded { path: path.to_owned(), classes });
    };
    if labels.len() == classes {
        return Ok(labels);
    }
    Err(ModelError::LabelCount { path: path.to_owned(), classes, labels: labels.len(), origin })
}

/// The inputs and outputs of a model, for people.
pub(super) fn describe(model: &OnnxModel) -> String {
    let list = |tensors: Vec<TensorInfo>| {
        let tensors: Vec<String> = tensors.iter().map(ToString::to_string).collect();
        if tensors.is_empty() { "none".to_owned() } else { tensors.join(", ") }
    };
    format!("inputs: {}; outputs: {}", list(model.inputs()), list(model.outputs()))
}

/// Width and height of the input, and whether others are possible; `None` if it takes no pictures.
fn picture_size(model: &OnnxModel, input: &TensorInfo) -> Option<((u32, u32), bool)> {
    let [_, Dimension::Fixed(3), height, width] = &input.shape[..] else { return None };
    if !input.is_float32 {
        return None;
    }
    match (height, width) {
        (Dimension::Fixed(height), Dimension::Fixed(width)) => {
            let is_usable = |side: u64| (32..=8192).contains(&side).then_some(side as u32);
            Some(((is_usable(*width)?, is_usable(*height)?), false))
        }
        // Ultralytics notes the size a dynamic export was traced with as `[height, width]`.
        _ => Some((traced_size(model).unwrap_or((DEFAULT_SIDE, DEFAULT_SIDE)), true)),
    }
}

fn traced_size(model: &OnnxModel) -> Option<(u32, u32)> {
    let text = model.metadata("imgsz")?.trim().strip_prefix('[')?.strip_suffix(']')?;
    let (height, width) = text.split_once(',')?;
    let side = |text: &str| {
        let side: u32 = text.trim().parse().ok()?;
        ((32..=8192).contains(&side) && side.is_multiple_of(32)).then_some(side)
    };
    Some((side(width)?, side(height)?))
}

/// One cell for each 8×8, 16×16 and 32×32 pixels.
fn cells_at((width, height): (u32, u32)) -> u64 {
    let cells = |stride| u64::from(width / stride) * u64::from(height / stride);
    STRIDES.into_iter().map(cells).sum()
}

/// RT-DETR, D-FINE and DETR give boxes `[batch, queries, 4]` beside a score or label per query.
fn is_query_based(outputs: &[TensorInfo]) -> bool {
    let has_four = |output: &TensorInfo| matches!(&output.shape[..], [_, _, Dimension::Fixed(4)]);
    outputs.len() >= 2 && outputs.iter().any(has_four)
}
