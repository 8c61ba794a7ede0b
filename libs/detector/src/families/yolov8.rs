//! The plain head of YOLOv8 and YOLO11: one output `[batch, 4 + classes, cells]`.
//!
//! Rows 0 to 3 are a box's centre x, centre y, width and height in pixels of the input; the others
//! are the classes' scores, sigmoid applied (Ultralytics `Detect.forward`).

use domain::ClassId;

use super::{
    declared::{Declared, Ends, Shapes},
    family::{DecodeRequest, Duplicates, Family, Head, HeadKind, Layout, Levels, Mismatch, Sizes},
    levels,
    scan::scan_best,
};
use crate::{
    input_box::InputBox,
    postprocess::candidate::Candidate,
    preprocess::letterbox::{ChannelOrder, Placement, Preprocessing, Resampling, ValueRange},
    tensor::OutputView,
};

impl HeadKind {
    /// YOLOv8 or YOLO11 as exported: `[batch, 4 + classes, cells]`, centre, size and final scores.
    pub const YOLOV8: Self = Self(&Family {
        name: "yolov8",
        described: Some(
            "[batch, 4 + classes, cells] (YOLOv8, YOLO11), with one cell for each 8×8, 16×16 and 32×32 pixels of \
     the input, or for other such levels from 4×4 to 128×128",
        ),
        preprocessing: PREPROCESSING,
        duplicates: Duplicates::Expected,
        sizes: Sizes::Any,
        layout: &Yolov8,
    });
}

/// Ultralytics' `LetterBox`, which YOLOv5 and YOLOv7 have as well.
pub(super) const PREPROCESSING: Preprocessing = Preprocessing {
    placement: Placement::Centre,
    resampling: Resampling::Bilinear,
    channels: ChannelOrder::Rgb,
    range: ValueRange::Unit,
};

struct Yolov8;

impl Layout for Yolov8 {
    fn claim(&self, file: &Declared<'_>) -> Option<Ends> {
        file.one_output(1)
    }

    fn readings(&self, shapes: &Shapes<'_>) -> Vec<Levels> {
        match shapes.outputs {
            [boxes] if boxes.len() == 2 => {
                levels::readings([boxes[1], 1], [boxes[0], 4], shapes.size)
            }
            _ => Vec::new(),
        }
    }

    fn mismatch(&self, head: &Head, outputs: &[OutputView<'_>], _: usize) -> Option<Mismatch> {
        let data = outputs.first()?.of_picture(0)?;
        let cells = data.len() / (4 + head.classes);
        Mismatch::of_scores(&data[4 * cells..])
    }

    fn decode(
        &self,
        head: &Head,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()> {
        let [output] = outputs else { return None };
        let cells = head.cells(request);
        if output.picture_shape()? != [4 + head.classes, cells] {
            return None;
        }
        let (boxes, scores) =
            output.of_picture(request.batch_index)?.split_at_checked(4 * cells)?;
        scan_best(scores, cells, request.threshold.get(), |cell, class, score| {
            let value = |row: usize| boxes[row * cells + cell];
            let bbox = InputBox::around([value(0), value(1)], [value(2), value(3)]);
            candidates.push(Candidate { bbox, class_id: ClassId(class), score });
        });
        Some(())
    }

    fn expected(&self, head: &Head, request: &DecodeRequest) -> String {
        format!("[batch, {}, {}]", 4 + head.classes, head.cells(request))
    }
}
