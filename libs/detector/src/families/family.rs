//! What a family of detectors is: how its files are told from others, and how its outputs are read.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;

use domain::ConfidenceThreshold;

use super::declared::{Declared, Ends, Shapes};
use crate::{
    error::DetectError, postprocess::candidate::Candidate, preprocess::letterbox::Preprocessing,
    tensor::OutputView,
};

/// A family of detectors whose files have the same inputs, outputs and preprocessing.
pub(crate) struct Family {
    /// Its name in `model.toml`.
    pub(crate) name: &'static str,
    /// The inputs and outputs of its files, to be named where a file is of no family; `None` for models that only an
    /// installation makes, and where another family describes them as well.
    pub(crate) described: Option<&'static str>,
    /// What its files take pictures as. Descriptions of models that do not say it mean this.
    pub(crate) preprocessing: Preprocessing,
    pub(crate) duplicates: Duplicates,
    pub(crate) sizes: Sizes,
    pub(crate) layout: &'static dyn Layout,
}

/// How the files of a family are told from others, and how their outputs are read.
pub(crate) trait Layout: Send + Sync {
    /// The ends that it would read of a file with these declarations; `None` for a file of another family.
    fn claim(&self, file: &Declared<'_>) -> Option<Ends>;

    /// The possible meanings of outputs of these shapes, the most common first.
    fn readings(&self, shapes: &Shapes<'_>) -> Vec<Levels>;

    /// Why the outputs of a run on a picture of `width` pixels cannot have the meaning `head`.
    fn mismatch(&self, head: &Head, outputs: &[OutputView<'_>], width: usize) -> Option<Mismatch>;

    /// The names that the outputs must have, for a model that an installation made.
    fn output_names(&self, _head: &Head) -> Option<Vec<String>> {
        None
    }

    /// Appends the candidates of one picture; `None` if the outputs do not have the shapes of `head`.
    fn decode(
        &self,
        head: &Head,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()>;

    /// The shapes of outputs that `head` needs, for a message.
    fn expected(&self, head: &Head, request: &DecodeRequest) -> String;
}

/// Whether the outputs can have several boxes for an object, which non-maximum suppression has to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duplicates {
    /// They can: boxes belong to cells, and neighbouring cells find the same object.
    Expected,
    /// The model gives each object once.
    Absent,
}

/// The sizes of pictures that models of a family are run at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// Any, if the graph runs at other sizes too.
    Any,
    /// The one that the file states.
    One,
}

/// A possible meaning of outputs: the classes, and pixels along a cell of each level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) classes: usize,
    /// Finest level first; empty where boxes do not belong to cells.
    pub(crate) strides: Vec<u32>,
}

impl Levels {
    /// Of outputs whose boxes do not belong to cells.
    pub(crate) fn without_cells(classes: usize) -> Self {
        Self { classes, strides: Vec::new() }
    }
}

/// Why values do not fit a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) found: &'static str,
    pub(crate) expected: &'static str,
}

impl Mismatch {
    /// Scores must be final: exports without sigmoid have the same shapes.
    pub(crate) const SCORES: Self = Self {
        found: "scores outside 0 to 1",
        expected: "an export with sigmoid applied to its scores",
    };

    /// Boxes must be in parts of the picture.
    const PARTS: Self = Self {
        found: "boxes outside 0 to 1",
        expected: "centre and size of boxes in parts of the picture",
    };

    /// An overflow in the model, as 16-bit floats may have it, ends in values that are not numbers.
    const NOT_NUMBERS: Self = Self {
        found: "values that are not numbers (NaN)",
        expected: "a model that does not overflow, such as one of 32-bit floats",
    };

    /// [`Mismatch::NOT_NUMBERS`] if any of `values` is none.
    pub(crate) fn of_numbers<'v>(values: impl IntoIterator<Item = &'v f32>) -> Option<Self> {
        values.into_iter().any(|value| value.is_nan()).then_some(Self::NOT_NUMBERS)
    }

    /// [`Mismatch::PARTS`] if any of `values` is far outside 0 to 1.
    pub(crate) fn of_parts<'v>(values: impl IntoIterator<Item = &'v f32>) -> Option<Self> {
        Self::of_range(values, -0.5..=1.5, Self::PARTS)
    }

    /// [`Mismatch::SCORES`] if any of `scores` is not from 0 to 1.
    pub(crate) fn of_scores<'v>(scores: impl IntoIterator<Item = &'v f32>) -> Option<Self> {
        Self::of_range(scores, 0.0..=1.0, Self::SCORES)
    }

    fn of_range<'v>(
        values: impl IntoIterator<Item = &'v f32>,
        range: RangeInclusive<f32>,
        otherwise: Self,
    ) -> Option<Self> {
        let outside = values.into_iter().find(|value| !range.contains(value))?;
        Some(if outside.is_nan() { Self::NOT_NUMBERS } else { otherwise })
    }
}

/// The layout of a model's outputs: that of one [family](super::HEADS).
#[derive(Clone, Copy)]
pub struct HeadKind(pub(crate) &'static Family);

impl HeadKind {
    /// Its name, as in `model.toml`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name
    }

    pub(crate) fn described(self) -> Option<&'static str> {
        self.0.described
    }

    pub(crate) fn claim(self, file: &Declared<'_>) -> Option<Ends> {
        self.0.layout.claim(file)
    }

    pub(crate) fn readings(self, shapes: &Shapes<'_>) -> Vec<Levels> {
        self.0.layout.readings(shapes)
    }

    pub(crate) fn sizes(self) -> Sizes {
        self.0.sizes
    }

    /// Whether its boxes belong to cells, so that its models have strides.
    pub(crate) fn has_cells(self) -> bool {
        self.0.duplicates == Duplicates::Expected
    }

    /// What its models take pictures as, unless their description says otherwise.
    #[must_use]
    pub const fn preprocessing(self) -> Preprocessing {
        self.0.preprocessing
    }
}

impl fmt::Debug for HeadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for HeadKind {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for HeadKind {}

impl Hash for HeadKind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

/// One picture of a batch whose boxes are decoded.
#[derive(Debug, Clone, Copy)]
pub struct DecodeRequest {
    /// The picture's index in the batch, from 0.
    pub batch_index: usize,
    /// Width of the model's input in pixels.
    pub input_width: usize,
    /// Height of the model's input in pixels.
    pub input_height: usize,
    /// Only scores strictly above it give candidates, as in the reference.
    pub threshold: ConfidenceThreshold,
}

/// A head of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The layout of the outputs.
    pub kind: HeadKind,
    /// Pixels of the input for each cell of a level, finest level first; empty where boxes do not belong to cells.
    pub strides: Vec<u32>,
    /// The number of classes.
    pub classes: usize,
}

impl Head {
    /// Appends the candidates of one picture to `candidates`, in no particular order.
    ///
    /// A candidate with an infinite or NaN value is dropped: it comes from an overflow in the model, and JSON has
    /// no such numbers, so a record with one could be stored but not read.
    ///
    /// # Errors
    /// [`DetectError::UnexpectedOutput`] when the outputs do not have the shapes of this head.
    pub fn decode_boxes(
        &self,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), DetectError> {
        // One dynamic call for each picture; the loops over cells are within it.
        let decoded = self.kind.0.layout.decode(self, outputs, request, candidates);
        decoded.ok_or_else(|| self.unexpected(outputs, request))?;
        candidates.retain(Candidate::is_finite);
        Ok(())
    }

    /// Why the outputs of a run on a picture of `width` pixels cannot have this meaning.
    pub(crate) fn mismatch(&self, outputs: &[OutputView<'_>], width: usize) -> Option<Mismatch> {
        self.kind.0.layout.mismatch(self, outputs, width)
    }

    /// Whether one object can have several boxes.
    pub(crate) fn duplicates(&self) -> Duplicates {
        self.kind.0.duplicates
    }

    /// The names that the outputs must have, for a head that [`install`](crate::model::install) made.
    pub(crate) fn output_names(&self) -> Option<Vec<String>> {
        self.kind.0.layout.output_names(self)
    }

    /// Rows and columns of the level with this stride.
    pub(super) fn grid(stride: u32, request: &DecodeRequest) -> (usize, usize) {
        let stride = stride as usize;
        (request.input_height / stride, request.input_width / stride)
    }

    /// The cells of all levels together.
    pub(super) fn cells(&self, request: &DecodeRequest) -> usize {
        let cells = |&stride: &u32| {
            let (rows, columns) = Self::grid(stride, request);
            rows * columns
        };
        self.strides.iter().map(cells).sum()
    }

    /// The error for outputs that do not have the shapes of this head.
    fn unexpected(&self, outputs: &[OutputView<'_>], request: &DecodeRequest) -> DetectError {
        let expected = self.kind.0.layout.expected(self, request);
        let found: Vec<String> =
            outputs.iter().map(|output| format!("{:?}", output.shape)).collect();
        DetectError::UnexpectedOutput { found: found.join(", "), expected }
    }
}
