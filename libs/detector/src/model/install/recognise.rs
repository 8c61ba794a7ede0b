//! Recognising a file by its inputs, outputs, metadata and operators, without running it.

use std::path::Path;

use crate::{
    families::{Declared, Ends, HEADS, Head, HeadKind, Levels, Shapes},
    model::error::ModelError,
    onnx::{
        Dimension, OnnxModel, TensorInfo,
        cut::{CannotCut, find_head},
        ends::{with_constant_size, with_outputs, without_last},
        external::MOST_BYTES,
        ranking::ranked_classes,
    },
};

/// The reference's input size, for files that do not state one.
const DEFAULT_SIDE: u64 = 640;
/// The sides of pictures that a model may take, in pixels.
const SIDES: std::ops::RangeInclusive<u64> = 32..=8192;
/// The largest fixed batch.
const MOST_PICTURES: u64 = 64;

const ITS_OWN_SUPPRESSION: &str =
    "a detector with non-maximum suppression in a form of its own; export it without";
const QUERY_BASED: &str = "a detector with queries whose outputs have other names than those of RT-DETR, D-FINE or RF-DETR, or which has a class \
     for no object (DETR, YOLOS)";

/// One possible meaning of outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) kind: HeadKind,
    pub(super) levels: Levels,
}

impl Reading {
    pub(super) fn head(&self) -> Head {
        let Levels { classes, strides } = self.levels.clone();
        Head { kind: self.kind, strides, classes }
    }
}

/// What a file declares about its input and outputs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Facts {
    /// The input's width and height in pixels; the size to run it at where the file does not state one.
    pub(super) size: (u32, u32),
    /// Whether height or width is dynamic.
    pub(super) is_size_dynamic: bool,
    /// The multiple of which sides are, where the levels do not say it.
    pub(super) multiple_of: u32,
    /// The batch size, where it is fixed and not 1.
    pub(super) batch: Option<u64>,
    /// The inputs and outputs that are used.
    pub(super) ends: Ends,
    /// The families that its outputs can be of.
    pub(super) kinds: Vec<HeadKind>,
    /// The possible meanings of its outputs, where their shapes are declared.
    pub(super) readings: Vec<Reading>,
    /// The number of classes by which the graph divides the places of its best scores.
    ranked: Option<usize>,
}

impl Facts {
    /// The meanings of outputs of these shapes, for one picture: those with unusual levels come last.
    pub(super) fn readings_of(&self, outputs: &[Vec<u64>], labels: Option<usize>) -> Vec<Reading> {
        let shapes = Shapes { outputs, size: self.size, labels, ranked: self.ranked };
        let of_kind = |kind: &HeadKind| {
            let kind = *kind;
            kind.readings(&shapes).into_iter().map(move |levels| Reading { kind, levels })
        };
        let mut readings: Vec<Reading> = self.kinds.iter().flat_map(of_kind).collect();
        let is_unusual =
            |reading: &Reading| !matches!(reading.levels.strides[..], [] | [8, 16, 32]);
        readings.sort_by_key(is_unusual);
        readings
    }

    /// `model` with only the inputs and outputs that are used, or `None` if it has no others.
    pub(super) fn with_ends(&self, model: &OnnxModel) -> Option<OnnxModel> {
        let Ends { outputs, size_input, masks } = &self.ends;
        let are_all = model.outputs().iter().map(|end| &end.name).eq(outputs);
        if are_all && size_input.is_none() && masks.is_none() {
            return None;
        }
        let mut changed = with_outputs(model, outputs);
        if let Some(name) = size_input {
            changed = with_constant_size(&changed, name, self.size);
        }
        if let (Some(masks), Some(name)) = (masks, outputs.first()) {
            changed = without_last(&changed, name, masks.axis, masks.count);
        }
        Some(changed)
    }
}

/// Reads the declarations of the file at `path`, which has names for `labels` classes, where known.
///
/// # Errors
/// [`ModelError`] for a file that is not a supported detector.
pub(super) fn recognise(
    path: &Path,
    model: &OnnxModel,
    labels: Option<usize>,
) -> Result<Facts, ModelError> {
    let refuse = |expected: &str| not_a_detector(path, describe(model), expected);
    if let Some(task) = model.metadata("task").filter(|task| !["detect", "segment"].contains(task))
    {
        return Err(refuse(&format!("a model for the task 'detect', not '{task}'")));
    }
    let is_picture = |input: &TensorInfo| input.element.is_float() && input.shape.len() == 4;
    let mut inputs = model.inputs();
    let Some(place) = inputs.iter().position(is_picture) else {
        return Err(refuse("an input of floats [batch, 3, height, width]"));
    };
    let picture = inputs.remove(place);
    let (size, is_size_dynamic) = picture_size(model, &picture)
        .ok_or_else(|| refuse("an input of floats [batch, 3, height, width]"))?;
    let batch = fixed_batch(&picture, size).map_err(|problem| refuse(&problem))?;
    let file = Declared { model, others: inputs, outputs: model.outputs() };
    let claim = |kind: &HeadKind| Some((*kind, kind.claim(&file)?));
    let claims: Vec<(HeadKind, Ends)> = HEADS.iter().filter_map(claim).collect();
    let facts = |ends: &Ends| Facts {
        size,
        is_size_dynamic,
        multiple_of: file.multiple_of(),
        batch,
        ends: ends.clone(),
        kinds: claims.iter().filter(|claim| claim.1 == *ends).map(|claim| claim.0).collect(),
        readings: Vec::new(),
        ranked: ranked_classes(model),
    };
    let is_said_for_segments = model.metadata("task") == Some("segment");
    if is_said_for_segments && claims.iter().all(|claim| claim.1.masks.is_none()) {
        return Err(refuse("boxes with masks and prototypes [batch, masks, height, width]"));
    }
    let mut unread = None;
    for (_, ends) in &claims {
        let mut facts = facts(ends);
        // Shapes of outputs may be dynamic, or be those of another size; a run shows them.
        let Some(shapes) = file.shapes(ends).filter(|_| !is_size_dynamic) else { return Ok(facts) };
        facts.readings = facts.readings_of(&shapes, labels);
        if !facts.readings.is_empty() {
            refuse_other_tasks(path, model, &facts.readings)?;
            return Ok(facts);
        }
        unread = Some(facts);
    }
    match unread {
        Some(_) => Err(no_reading(path, describe(model))),
        None => Err(unclaimed(path, &file)),
    }
}

/// The error for a file whose inputs and outputs no family has.
fn unclaimed(path: &Path, file: &Declared<'_>) -> ModelError {
    let found = describe(file.model);
    let not_yet =
        |kind| ModelError::NotSupportedYet { path: path.to_owned(), kind, found: found.clone() };
    if is_query_based(&file.outputs) {
        return not_yet(QUERY_BASED);
    }
    if has_own_suppression(file.model) {
        return not_yet(ITS_OWN_SUPPRESSION);
    }
    let expected = match &file.outputs[..] {
        _ if !file.others.is_empty() => "one input, the picture".to_owned(),
        [output] if !output.element.is_float() => "an output of floats".to_owned(),
        [output] if output.shape.len() == 2 => {
            "a detector; with one list of scores for a picture, it looks like a classifier"
                .to_owned()
        }
        _ => expected_outputs(),
    };
    not_a_detector(path, found, &expected)
}

/// The outputs that the families have.
fn expected_outputs() -> String {
    let described: Vec<&str> = HEADS.iter().filter_map(|kind| kind.described()).collect();
    format!("outputs of floats: {}", described.join("; or "))
}

/// The error for outputs whose shapes have no known meaning.
pub(super) fn no_reading(path: &Path, found: String) -> ModelError {
    not_a_detector(path, found, &expected_outputs())
}

/// Rejects a model whose head gives more for each cell than a box and class scores. The output does not always
/// show it: an angle is often a value from 0 to 1.
pub(super) fn refuse_other_tasks(
    path: &Path,
    model: &OnnxModel,
    readings: &[Reading],
) -> Result<(), ModelError> {
    for reading in readings.iter().filter(|reading| reading.kind == HeadKind::YOLOV8) {
        let classes = reading.levels.classes;
        if let Err(CannotCut::OtherTask { values }) = find_head(model, classes) {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            let found = format!(
                "{} values for each cell beside its box, which are not the scores of {classes} classes alone ({})",
                values.join(" and "),
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

/// Detectors with queries give boxes `[batch, queries, 4]` beside a score or label per query.
fn is_query_based(outputs: &[TensorInfo]) -> bool {
    let has_four = |output: &TensorInfo| matches!(&output.shape[..], [_, _, Dimension::Fixed(4)]);
    outputs.len() >= 2 && outputs.iter().any(has_four)
}

/// Whether the graph contains non-maximum suppression.
fn has_own_suppression(model: &OnnxModel) -> bool {
    let nodes = model.proto.graph.iter().flat_map(|graph| &graph.node);
    let mut operators = nodes.map(|node| node.op_type());
    operators.any(|operator| operator.contains("NonMaxSuppression") || operator.contains("NMS"))
}
