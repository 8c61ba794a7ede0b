//! The plain head of YOLOv8 and YOLO11: one output `[batch, 4 + classes, cells]`.
//!
//! Rows 0 to 3 are a box's centre x, centre y, width and height in pixels of the input; the others
//! are the classes' scores, sigmoid applied (Ultralytics `Detect.forward`).

use domain::ClassId;

use super::{
    head::{DecodeRequest, Head},
    scan::scan_best,
};
use crate::{input_box::InputBox, postprocess::candidate::Candidate, tensor::OutputView};

pub(super) fn decode(
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
    let (boxes, scores) = output.of_picture(request.batch_index)?.split_at_checked(4 * cells)?;
    scan_best(scores, cells, request.threshold.get(), |cell, class, score| {
        let value = |row: usize| boxes[row * cells + cell];
        let bbox = InputBox::around([value(0), value(1)], [value(2), value(3)]);
        candidates.push(Candidate { bbox, class_id: ClassId(class), score });
    });
    Some(())
}
