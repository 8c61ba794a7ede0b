//! The plain head of YOLOv8 and YOLO11: one output `[batch, 4 + classes, cells]`.
//!
//! Rows 0 to 3 are a box's centre x, centre y, width and height in pixels of the input; the others
//! are the classes' scores, sigmoid applied (Ultralytics `Detect.forward`).

use domain::{ClassId, Detection};

use super::{DecodeRequest, Head, OutputView, around, scan_best};

pub(super) fn decode(
    head: &Head,
    outputs: &[OutputView<'_>],
    request: &DecodeRequest,
    candidates: &mut Vec<Detection>,
) -> Option<()> {
    let [output] = outputs else { return None };
    let cells = head.cells(request);
    if output.picture_shape()? != [4 + head.classes, cells] {
        return None;
    }
    let (boxes, scores) = output.of_picture(request.batch_index)?.split_at_checked(4 * cells)?;
    scan_best(scores, cells, request.confidence.get(), |cell, class, confidence| {
        let value = |row: usize| boxes[row * cells + cell];
        let bbox = around([value(0), value(1)], [value(2), value(3)]);
        candidates.push(Detection { bbox, class_id: ClassId(class), confidence });
    });
    Some(())
}
