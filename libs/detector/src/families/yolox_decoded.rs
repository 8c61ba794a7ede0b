//! YOLOX exported with `decode_in_inference`: one output `[batch, cells, 5 + classes]` with boxes in pixels.
//!
//! The rows are those of [YOLOv5](HeadKind::YOLOV5), one for each cell; pictures are prepared as for
//! [YOLOX](HeadKind::YOLOX).

use super::{
    declared::{Declared, Ends, Shapes},
    family::{DecodeRequest, Duplicates, Family, Head, HeadKind, Layout, Levels, Mismatch, Sizes},
    yolov5, yolox,
};
use crate::{postprocess::candidate::Candidate, tensor::OutputView};

impl HeadKind {
    /// YOLOX with boxes in pixels: `[batch, cells, 5 + classes]`, centre, size and final scores.
    pub const YOLOX_DECODED: Self = Self(&Family {
        name: "yolox-decoded",
        described: None,
        preprocessing: yolox::PREPROCESSING,
        duplicates: Duplicates::Expected,
        sizes: Sizes::One,
        layout: &YoloxDecoded,
    });
}

struct YoloxDecoded;

impl Layout for YoloxDecoded {
    fn claim(&self, file: &Declared<'_>) -> Option<Ends> {
        file.one_output(2)
    }

    fn readings(&self, shapes: &Shapes<'_>) -> Vec<Levels> {
        yolox::rows_of_cells(shapes)
    }

    fn mismatch(&self, head: &Head, outputs: &[OutputView<'_>], width: usize) -> Option<Mismatch> {
        let data = outputs.first()?.of_picture(0)?;
        let is_far = |row: &[f32]| row[0] > width as f32 / 2.0;
        if !data.chunks_exact(5 + head.classes).any(is_far) {
            return Some(Mismatch {
                found: "box centres in one half of the picture only",
                expected: "box centres in pixels",
            });
        }
        yolov5::of_decoded_rows(head, outputs)
    }

    fn decode(
        &self,
        head: &Head,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()> {
        yolov5::decode_rows(head.cells(request), head, outputs, request, candidates)
    }

    fn expected(&self, head: &Head, request: &DecodeRequest) -> String {
        format!("[batch, {}, {}]", head.cells(request), 5 + head.classes)
    }
}
