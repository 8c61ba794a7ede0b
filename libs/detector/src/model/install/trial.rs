//! Trial runs before an installation: what a model gives, and whether a changed one gives the same.

use std::path::Path;

use domain::ConfidenceThreshold;

use super::recognise::{Facts, Reading, describe, no_reading, not_a_detector, refuse_other_tasks};
use crate::{
    error::DetectError,
    families::{DecodeRequest, Head, HeadKind},
    model::error::ModelError,
    onnx::{OnnxModel, batch::with_dynamic_batch, float_ends::has_half_floats},
    onnx_runtime::{error::OnnxRuntimeError, library::OnnxRuntime, session::InferenceSession},
    postprocess::candidate::Candidate,
    tensor::{InputBatch, InputTensor, OutputView},
};

/// Other sizes, width × height, at which a model with a dynamic size must run.
const OTHER_SIZES: [(u32, u32); 2] = [(480, 640), (320, 256)];

/// The largest differences between the candidates of a changed model and of the whole one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tolerance {
    /// For scores from 0 to 1.
    score: f32,
    /// For the sides of boxes in pixels. Rounding errors of the coarsest level are multiplied by its stride.
    side: f32,
}

impl Tolerance {
    fn of(model: &OnnxModel, (width, height): (u32, u32)) -> Self {
        if has_half_floats(model) {
            // 16-bit inputs and outputs move a side by up to 1/1700 of the picture, measured on published models,
            // and 16-bit layers by more. Boxes of a wrong level differ by far more.
            Self { score: 1e-2, side: width.max(height) as f32 / 320.0 }
        } else {
            Self { score: 1e-3, side: 1e-2 }
        }
    }
}

/// The largest differences between two models.
#[derive(Debug, Clone, Copy)]
pub(super) struct Difference {
    pub(super) score: f32,
    pub(super) side: f32,
}

/// Why a changed model cannot take the place of the whole one.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrialError {
    #[error(transparent)]
    Load(#[from] OnnxRuntimeError),
    #[error(transparent)]
    Run(#[from] DetectError),
    #[error("{found} cells instead of {expected}")]
    Cells { found: usize, expected: usize },
    #[error("scores differ by {}, boxes by {} px", .0.score, .0.side)]
    Differs(Difference),
}

/// What a run of a file has shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Recognised {
    pub(super) reading: Reading,
    /// The input's width and height in pixels; the size to run it at where the file does not state one.
    pub(super) size: (u32, u32),
    /// Whether height or width is dynamic.
    pub(super) is_size_dynamic: bool,
    /// Sides of pictures are multiples of it: the stride of the coarsest level.
    pub(super) multiple_of: u32,
}

/// The outputs of a run: shapes and values.
struct RunOutputs(Vec<(Vec<i64>, Vec<f32>)>);

impl RunOutputs {
    fn of(session: &mut InferenceSession, input: &InputTensor) -> Result<Self, DetectError> {
        let outputs = session.run_quietly(&InputBatch::of(input))?;
        let views = outputs.views()?;
        Ok(Self(views.iter().map(|view| (view.shape.to_vec(), view.data.to_vec())).collect()))
    }

    fn views(&self) -> Vec<OutputView<'_>> {
        self.0.iter().map(|(shape, data)| OutputView { shape, data }).collect()
    }

    /// The shapes for one picture.
    fn of_picture(&self) -> Vec<Vec<u64>> {
        let sizes =
            |shape: &[i64]| shape.iter().map(|size| u64::try_from(*size).unwrap_or(0)).collect();
        self.0.iter().map(|(shape, _)| sizes(shape.get(1..).unwrap_or_default())).collect()
    }
}

/// A model for trial runs.
pub(super) struct Trial<'a> {
    pub(super) path: &'a Path,
    pub(super) runtime: &'a OnnxRuntime,
    pub(super) model: OnnxModel,
    /// The bytes of its file.
    pub(super) bytes: Vec<u8>,
}

impl<'a> Trial<'a> {
    /// Runs the whole model, and returns its kind and the candidates of all cells. If its output can have several
    /// meanings, the values decide; if they fit all, the one with `labels` classes is taken.
    pub(super) fn run_whole(
        &self,
        facts: &Facts,
        labels: Option<usize>,
    ) -> Result<(Recognised, Vec<Candidate>), ModelError> {
        let mut session = self
            .load(&self.bytes)
            .map_err(|source| ModelError::OnnxRuntime { path: self.path.to_owned(), source })?;
        let does_not_run = |error: DetectError| ModelError::DoesNotRun {
            path: self.path.to_owned(),
            detail: error.to_string(),
        };
        let kinds = facts.readings.first().map(|reading| reading.kind);
        let kind = kinds.or(facts.kinds.first().copied());
        let range = |kind: HeadKind| kind.preprocessing().range.brightest();
        let brightest = match facts.readings.len() {
            1 => kind.map_or(1.0, range),
            // Of several meanings, most are of pictures from 0 to 1.
            _ => 1.0,
        };
        let run =
            RunOutputs::of(&mut session, &noise(facts.size, brightest)).map_err(does_not_run)?;
        let reading = self.read(facts, &run, labels)?;
        let head = reading.head();
        let input = noise(facts.size, range(head.kind));
        if range(head.kind) != brightest {
            // Values that fit a meaning on an almost black picture need not fit it on another.
            let run = RunOutputs::of(&mut session, &input).map_err(does_not_run)?;
            self.refuse_mismatch(&head, &run, facts.size.0)?;
        }
        let boxes = every_cell(&mut session, &head, &input).map_err(does_not_run)?;
        let multiple_of = reading.levels.strides.iter().copied().max().unwrap_or(facts.multiple_of);
        let (size, is_size_dynamic) = (facts.size, facts.is_size_dynamic);
        Ok((Recognised { reading, size, is_size_dynamic, multiple_of }, boxes))
    }

    /// The meaning of outputs, by their shapes and values.
    fn read(
        &self,
        facts: &Facts,
        run: &RunOutputs,
        labels: Option<usize>,
    ) -> Result<Reading, ModelError> {
        let shapes: Vec<&Vec<i64>> = run.0.iter().map(|(shape, _)| shape).collect();
        let readings = facts.readings_of(&run.of_picture(), labels);
        let Some(first) = readings.first() else {
            let found = format!("{}, which gives {shapes:?}", describe(&self.model));
            return Err(no_reading(self.path, found));
        };
        refuse_other_tasks(self.path, &self.model, &readings)?;
        let width = facts.size.0 as usize;
        let fits = |reading: &&Reading| reading.head().mismatch(&run.views(), width).is_none();
        let fitting: Vec<&Reading> = readings.iter().filter(fits).collect();
        let named = fitting.iter().find(|reading| Some(reading.levels.classes) == labels);
        if let Some(reading) = named.or(fitting.first()) {
            return Ok((*reading).clone());
        }
        self.refuse_mismatch(&first.head(), run, facts.size.0).map(|()| first.clone())
    }

    fn refuse_mismatch(&self, head: &Head, run: &RunOutputs, width: u32) -> Result<(), ModelError> {
        match head.mismatch(&run.views(), width as usize) {
            Some(why) => Err(not_a_detector(self.path, why.found.to_owned(), why.expected)),
            None => Ok(()),
        }
    }

    /// The model with its fixed `batch` made dynamic, if its candidates are still `whole`.
    pub(super) fn with_dynamic_batch(
        &self,
        recognised: &Recognised,
        batch: u64,
        whole: &[Candidate],
    ) -> Result<Trial<'a>, TrialError> {
        let model = with_dynamic_batch(&self.model, batch);
        let changed =
            Trial { path: self.path, runtime: self.runtime, bytes: model.to_bytes(), model };
        let mut session = changed.load(&changed.bytes)?;
        let head = recognised.reading.head();
        let input = noise(recognised.size, head.kind.preprocessing().range.brightest());
        let boxes = every_cell(&mut session, &head, &input)?;
        self.compare(recognised, whole, &boxes)?;
        Ok(changed)
    }

    /// Why the model with its plain `head` does not run at other sizes, if so.
    pub(super) fn why_not_at_other_sizes(
        &self,
        head: &Head,
        multiple_of: u32,
    ) -> Result<Option<String>, ModelError> {
        let mut session = self
            .load(&self.bytes)
            .map_err(|source| ModelError::OnnxRuntime { path: self.path.to_owned(), source })?;
        Ok(self.why_not_other_sizes(&mut session, head, multiple_of))
    }

    /// Why `session` does not run at other sizes, if so.
    pub(super) fn why_not_other_sizes(
        &self,
        session: &mut InferenceSession,
        head: &Head,
        step: u32,
    ) -> Option<String> {
        let brightest = head.kind.preprocessing().range.brightest();
        OTHER_SIZES.into_iter().find_map(|(width, height)| {
            let size = (width.next_multiple_of(step), height.next_multiple_of(step));
            let error = every_cell(session, head, &noise(size, brightest)).err()?;
            Some(format!("at {}×{} {}", size.0, size.1, what_fails(&error)))
        })
    }

    /// The largest difference of two scores and of two sides, cell by cell.
    pub(super) fn compare(
        &self,
        recognised: &Recognised,
        whole: &[Candidate],
        changed: &[Candidate],
    ) -> Result<Difference, TrialError> {
        if whole.len() != changed.len() {
            return Err(TrialError::Cells { found: changed.len(), expected: whole.len() });
        }
        let mut found = Difference { score: 0.0, side: 0.0 };
        for (whole, changed) in whole.iter().zip(changed) {
            found.score = found.score.max((whole.score - changed.score).abs());
            for (a, b) in whole.bbox.sides().into_iter().zip(changed.bbox.sides()) {
                found.side = found.side.max((a - b).abs());
            }
        }
        let tolerance = Tolerance::of(&self.model, recognised.size);
        if found.score <= tolerance.score && found.side <= tolerance.side {
            return Ok(found);
        }
        Err(TrialError::Differs(found))
    }

    pub(super) fn load(&self, bytes: &[u8]) -> Result<InferenceSession, OnnxRuntimeError> {
        InferenceSession::load_quietly(self.runtime, bytes)
    }
}

/// Which operator of a model failed, in short: ONNX Runtime's own texts include paths of its source files.
fn what_fails(error: &DetectError) -> String {
    let DetectError::Inference(error) = error else { return error.to_string() };
    let text = error.to_string();
    let operator = text.split_once("while running ").and_then(|(_, rest)| rest.split_once(" node"));
    let name = text.split_once("Name:'").and_then(|(_, rest)| rest.split_once('\''));
    match (operator, name) {
        (Some((operator, _)), Some((name, _))) => format!("its {operator} '{name}' fails"),
        _ => text,
    }
}

/// The candidates of all cells, in the order of the cells.
pub(super) fn every_cell(
    session: &mut InferenceSession,
    head: &Head,
    input: &InputTensor,
) -> Result<Vec<Candidate>, DetectError> {
    let outputs = session.run_quietly(&InputBatch::of(input))?;
    let request = DecodeRequest {
        batch_index: 0,
        input_width: input.width,
        input_height: input.height,
        threshold: ConfidenceThreshold::ZERO,
    };
    let views = outputs.views()?;
    // A score of 16 bits may be rounded to 0, which is not above the threshold 0.
    let without_zeros = |view: &OutputView<'_>| -> Vec<f32> {
        view.data
            .iter()
            .map(|&value| if value == 0.0 { f32::MIN_POSITIVE } else { value })
            .collect()
    };
    let data: Vec<Vec<f32>> = views.iter().map(without_zeros).collect();
    let views = views.iter().zip(&data).map(|(view, data)| OutputView { shape: view.shape, data });
    let mut boxes = Vec::new();
    head.decode_boxes(&views.collect::<Vec<_>>(), &request, &mut boxes)?;
    Ok(boxes)
}

/// A tensor of the same pseudo-random values each time (splitmix64), up to `brightest`.
pub(super) fn noise((width, height): (u32, u32), brightest: f32) -> InputTensor {
    let (width, height) = (width as usize, height as usize);
    let mut state = 0_u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 40) as f32 / (1 << 24) as f32 * brightest
    };
    let data = (0..3 * width * height).map(|_| next()).collect();
    InputTensor { data, height, width }
}
