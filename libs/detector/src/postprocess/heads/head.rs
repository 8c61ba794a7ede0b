//! The description of a head: its kind, levels and classes.

use domain::ConfidenceThreshold;
use serde::{Deserialize, Serialize};

use crate::{
    error::DetectError,
    preprocess::letterbox::{ChannelOrder, LetterboxSpec, Placement, TargetSize, ValueRange},
    tensor::OutputView,
};

/// The layout of a model's outputs.
///
/// End-to-end heads (`[batch, 300, 6]`) and the queries of RT-DETR and D-FINE are recognised at
/// install and rejected by name; each needs a variant here and a file in this folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// YOLOv8 or YOLO11 whose graph ends at its last convolutions: for each stride `s`,
    /// `boxes_s` `[batch, 4 × bins, h, w]` and `scores_s` `[batch, classes, h, w]`, both raw.
    #[serde(rename = "yolov8-cut")]
    Yolov8Cut,
    /// YOLOv8 or YOLO11 as exported: `[batch, 4 + classes, cells]`, centre, size and final scores.
    #[serde(rename = "yolov8")]
    Yolov8,
    /// YOLOX as exported: `[batch, cells, 5 + classes]`, offsets in the grid and final scores.
    #[serde(rename = "yolox")]
    Yolox,
}

impl HeadKind {
    /// Its name, as in `model.toml`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Yolov8Cut => "yolov8-cut",
            Self::Yolov8 => "yolov8",
            Self::Yolox => "yolox",
        }
    }

    /// The letterbox that such a model was trained with.
    ///
    /// YOLOv8 and YOLO11: centred, RGB, 0–1 (Ultralytics `LetterBox`). YOLOX: top left, BGR, 0–255
    /// (Megvii `preproc`).
    #[must_use]
    pub fn letterbox_spec(self, target: TargetSize) -> LetterboxSpec {
        let (placement, channels, range) = match self {
            Self::Yolov8Cut | Self::Yolov8 => {
                (Placement::Centre, ChannelOrder::Rgb, ValueRange::Unit)
            }
            Self::Yolox => (Placement::TopLeft, ChannelOrder::Bgr, ValueRange::Byte),
        };
        LetterboxSpec { target, placement, channels, range }
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
    /// Pixels of the input for each cell of a level, finest level first.
    pub strides: Vec<u32>,
    /// The number of classes.
    pub classes: usize,
}

impl Head {
    /// The names that the outputs must have, for a head that [`install`](crate::model::install) made.
    pub(crate) fn output_names(&self) -> Option<Vec<String>> {
        if self.kind != HeadKind::Yolov8Cut {
            return None;
        }
        let pair = |stride| [cut_output("boxes", stride), cut_output("scores", stride)];
        Some(self.strides.iter().flat_map(pair).collect())
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
    pub(super) fn unexpected(
        &self,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
    ) -> DetectError {
        let (classes, cells) = (self.classes, self.cells(request));
        let expected = match self.kind {
            HeadKind::Yolov8 => format!("[batch, {}, {cells}]", 4 + classes),
            HeadKind::Yolox => format!("[batch, {cells}, {}]", 5 + classes),
            HeadKind::Yolov8Cut => {
                let level = |&stride: &u32| {
                    let (rows, columns) = Self::grid(stride, request);
                    format!(
                        "[batch, 4 × bins, {rows}, {columns}] and \
                         [batch, {classes}, {rows}, {columns}]"
                    )
                };
                self.strides.iter().map(level).collect::<Vec<_>>().join(", ")
            }
        };
        let found: Vec<String> =
            outputs.iter().map(|output| format!("{:?}", output.shape)).collect();
        DetectError::UnexpectedOutput { found: found.join(", "), expected }
    }
}

/// The name of an output of a cut head, such as `boxes_8`.
pub(crate) fn cut_output(what: &str, stride: &u32) -> String {
    format!("{what}_{stride}")
}
