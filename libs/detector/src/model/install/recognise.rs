//! Recognising a file by its inputs, outputs, metadata and operators, without running it.

use std::path::Path;

use super::reading::{self, Family, Reading};
use crate::{
    model::error::ModelError,
    onnx::{
        Dimension, OnnxModel, TensorInfo,
        cut::{CannotCut, find_head},
        external::MOST_BYTES,
    },
};

/// The reference's input size, for files that do not state one.
const DEFAULT_SIDE: u64 = 640;
/// The sides of pictures that a model may take, in pixels.
const SIDES: std::ops::RangeInclusive<u64> = 32..=8192;
/// The largest fixed batch.
const MOST_PICTURES: u64 = 64;

/// An end-to-end head gives at most this many boxes; the published ones give 300.
const MOST_QUERIES: u64 = 1000;

pub(super) const EXPECTED_OUTPUTS: &str = "one output of floats: [batch, 4 + classes, cells] (YOLOv8, YOLO11) \
     or [batch, cells, 5 + classes] (YOLOX), with one cell for each 8×8, 16×16 and 32×32 pixels of the \
     input, or for other such levels from 4×4 to 128×128";
const ITS_OWN_SUPPRESSION: &str =
    "a detector that drops overlapping boxes itself; export it again without `nms=True`";
const END_TO_END: &str = "an end-to-end detector (YOLO26, YOLOv10)";
const QUERY_BASED: &str = "a detector with queries (RT-DETR, D-FINE)";

/// What a file declares about its input and outputs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Facts {
    /// The input's width and height in pixels; the size to run it at where the file does not state one.
    pub(super) size: (u32, u32),
    /// Whether height or width is dynamic.
    pub(super) is_size_dynamic: bool,
    /// The batch size, where it is fixed and not 1.
    pub(super) batch: Option<u64>,
    /// Whether it has outputs beside the boxes, such as the levels of the head.
    pub(super) has_other_outputs: bool,
    /// The possible meanings of its output, where its shape is declared.
    pub(super) readings: Vec<Reading>,
}

/// Reads the declarations of the file at `path`.
///
/// # Errors
/// [`ModelError`] for a file that is not a supported detector.
pub(super) fn recognise(path: &Path, model: &OnnxModel) -> Result<Facts, ModelError> {
    let (inputs, outputs) = (model.inputs(), model.outputs());
    let refuse = |expected: &str| not_a_detector(path, describe(model), expected);
    let not_yet = |kind| not_supported_yet(path, kind, describe(model));
    if is_query_based(&outputs) || model.metadata("head") == Some("RTDETRDecoder") {
        return Err(not_yet(QUERY_BASED));
    }
    if let Some(task) = model.metadata("task").filter(|task| *task != "detect") {
        return Err(refuse(&format!("a model for the task 'detect', not '{task}'")));
    }
    if has_own_suppression(model) {
        return Err(not_yet(ITS_OWN_SUPPRESSION));
    }
    if model.metadata("end2end").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return Err(not_yet(END_TO_END));
    }
    let [input] = &inputs[..] else { return Err(refuse("one input, the picture")) };
    let (size, is_size_dynamic) = picture_size(model, input)
        .ok_or_else(|| refuse("an input of floats [batch, 3, height, width]"))?;
    let batch = fixed_batch(input, size).map_err(|problem| refuse(&problem))?;
    let output = match &outputs[..] {
        [output] => output,
        [_, masks] if masks.shape.len() == 4 => {
            return Err(refuse("a detector, with one output; it looks like a model for segments"));
        }
        // Exported as for training: the levels of the head are further outputs, which are dropped.
        [output, _, _, _, ..] if output.shape.len() == 3 => output,
        _ => return Err(refuse(EXPECTED_OUTPUTS)),
    };
    if !output.element.is_float() {
        return Err(refuse("an output of floats"));
    }
    // Output shapes may be dynamic; a run shows them.
    let readings = match &output.shape[..] {
        [_, Dimension::Fixed(rows), Dimension::Fixed(columns)] if !is_size_dynamic => {
            let readings = reading::of([*rows, *columns], size);
            if readings.is_empty() {
                return Err(no_reading(path, [*rows, *columns], describe(model)));
            }
            refuse_other_tasks(path, model, &readings)?;
            readings
        }
        [] | [_, _, _] => Vec::new(),
        [_, _] => {
            return Err(refuse(
                "a detector; with one list of scores for a picture, it looks like a classifier",
            ));
        }
        _ => return Err(refuse(EXPECTED_OUTPUTS)),
    };
    let has_other_outputs = outputs.len() > 1;
    Ok(Facts { size, is_size_dynamic, batch, has_other_outputs, readings })
}

/// The error for an output whose shape has no known meaning.
pub(super) fn no_reading(path: &Path, [rows, columns]: [u64; 2], found: String) -> ModelError {
    if columns == 6 && rows <= MOST_QUERIES {
        return not_supported_yet(path, END_TO_END, found);
    }
    not_a_detector(path, found, EXPECTED_OUTPUTS)
}

/// Rejects a model whose head gives more for each cell than a box and class scores. The output does not always
/// show it: an angle is often a value from 0 to 1.
pub(super) fn refuse_other_tasks(
    path: &Path,
    model: &OnnxModel,
    readings: &[Reading],
) -> Result<(), ModelError> {
    for reading in readings.iter().filter(|reading| reading.family == Family::Yolov8) {
        if let Err(CannotCut::OtherTask { values }) = find_head(model, reading.classes) {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            let found = format!(
                "{} values for each cell beside its box, which are not the scores of {} classes alone ({})",
                values.join(" and "),
                reading.classes,
                describe(model)
            );
            let expected =
                "a detector; it looks like a model for poses, oriented boxes or segments";
            return Err(not_a_detector(path, found, expected));
        }
    }
    Ok(())
}

pub(super) fn not_a_detector(path: &Path, found: String, expected: &str) -> ModelError {
    ModelError::NotADetector { path: path.to_owned(), found, expected: expected.to_owned() }
}

fn not_supported_yet(path: &Path, kind: &'static str, found: String) -> ModelError {
    ModelError::NotSupportedYet { path: path.to_owned(), kind, found }
}

/// The inputs and outputs of a model, as text.
pub(super) fn describe(model: &OnnxModel) -> String {
    let list = |tensors: Vec<TensorInfo>| {
        let tensors: Vec<String> = tensors.iter().map(ToString::to_string).collect();
        if tensors.is_empty() { "none".to_owned() } else { tensors.join(", ") }
    };
    format!("inputs: {}; outputs: {}", list(model.inputs()), list(model.outputs()))
}

/// Width and height of the input, and whether they are dynamic; `None` if the input is not a picture.
fn picture_size(model: &OnnxModel, input: &TensorInfo) -> Option<((u32, u32), bool)> {
    let [_, channels, height, width] = &input.shape[..] else { return None };
    let has_three = match channels {
        Dimension::Fixed(channels) => *channels == 3,
        Dimension::Dynamic(_) => model.metadata("channels").is_none_or(|channels| channels == "3"),
    };
    if !input.element.is_float() || !has_three {
        return None;
    }
    let (traced_height, traced_width) = traced_size(model).unwrap_or((DEFAULT_SIDE, DEFAULT_SIDE));
    let side = |side: &Dimension, traced| {
        let side = side.fixed().unwrap_or(traced);
        SIDES.contains(&side).then_some(side as u32)
    };
    let is_dynamic = height.fixed().is_none() || width.fixed().is_none();
    Some(((side(width, traced_width)?, side(height, traced_height)?), is_dynamic))
}

/// The size a dynamic export was traced with, which Ultralytics notes as `[height, width]`.
fn traced_size(model: &OnnxModel) -> Option<(u64, u64)> {
    let text = model.metadata("imgsz")?.trim().trim_matches(|c| "[]()".contains(c));
    let (height, width) = text.split_once(',').unwrap_or((text, text));
    let side = |text: &str| {
        let side: u64 = text.trim().parse().ok()?;
        (SIDES.contains(&side) && side.is_multiple_of(32)).then_some(side)
    };
    Some((side(height)?, side(width)?))
}

/// How many pictures the model takes at a time, where that is fixed and not 1.
fn fixed_batch(input: &TensorInfo, (width, height): (u32, u32)) -> Result<Option<u64>, String> {
    let Some(batch) = input.shape.first().and_then(Dimension::fixed).filter(|batch| *batch != 1)
    else {
        return Ok(None);
    };
    let bytes = u64::from(width) * u64::from(height) * 3 * 4;
    if batch > MOST_PICTURES || batch.saturating_mul(bytes) > MOST_BYTES {
        return Err(format!("a batch of at most {MOST_PICTURES} pictures and 2 GiB"));
    }
    Ok(Some(batch))
}

/// RT-DETR, D-FINE and DETR give boxes `[batch, queries, 4]` beside a score or label per query.
fn is_query_based(outputs: &[TensorInfo]) -> bool {
    let has_four = |output: &TensorInfo| matches!(&output.shape[..], [_, _, Dimension::Fixed(4)]);
    outputs.len() >= 2 && outputs.iter().any(has_four)
}

/// Whether the graph contains non-maximum suppression, as with `nms=True`.
fn has_own_suppression(model: &OnnxModel) -> bool {
    let nodes = model.proto.graph.iter().flat_map(|graph| &graph.node);
    let mut operators = nodes.map(|node| node.op_type());
    let is_said = model.metadata("args").is_some_and(|args| {
        let args = args.replace('"', "'");
        args.contains("'nms': True") || args.contains("'nms': true")
    });
    is_said
        || operators
            .any(|operator| operator.contains("NonMaxSuppression") || operator.contains("NMS"))
}
