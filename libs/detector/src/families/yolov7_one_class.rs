//! YOLOv7 with one class: one output `[batch, boxes, 6]`, three boxes for each cell.
//!
//! The rows are those of [YOLOv5](HeadKind::YOLOV5). The score of a box is that there is an object: YOLOv7 does not train the
//! score of a single class, and does not multiply by it (`non_max_suppression`, `nc == 1`). YOLOv5 multiplies; its class
//! score stays near 1, as it begins. Its exports have a `stride` in their metadata, those of YOLOv7 have none. Nor have those
//! of early versions of YOLOv5, which are taken for YOLOv7: their scores become higher by what the class score is below 1.

use domain::ClassId;

use super::{
    declared::{Declared, Ends, Shapes},
    family::{DecodeRequest, Duplicates, Family, Head, HeadKind, Layout, Levels, Mismatch, Sizes},
    yolov5::{self, ANCHORS},
    yolov8,
};
use crate::{input_box::InputBox, postprocess::candidate::Candidate, tensor::OutputView};

/// Values of a row: a box, the score that there is an object, and the score of the class.
const ROW: usize = 6;

impl HeadKind {
    /// YOLOv7 with one class: `[batch, 3 × cells, 6]`, centre, size, and the final score that there is an object.
    pub const YOLOV7_ONE_CLASS: Self = Self(&Family {
        name: "yolov7-one-class",
        described: None,
        preprocessing: yolov8::PREPROCESSING,
        duplicates: Duplicates::Expected,
        sizes: Sizes::Any,
        layout: &Yolov7OneClass,
    });
}

struct Yolov7OneClass;

impl Layout for Yolov7OneClass {
    fn claim(&self, file: &Declared<'_>) -> Option<Ends> {
        file.one_output(2).filter(|_| file.model.metadata("stride").is_none())
    }

    fn readings(&self, shapes: &Shapes<'_>) -> Vec<Levels> {
        let mut readings = yolov5::readings(shapes);
        readings.retain(|reading| reading.classes == 1);
        readings
    }

    fn mismatch(&self, head: &Head, outputs: &[OutputView<'_>], _: usize) -> Option<Mismatch> {
        yolov5::of_decoded_rows(head, outputs)
    }

    fn decode(
        &self,
        head: &Head,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()> {
        let [output] = outputs else { return None };
        if output.picture_shape()? != [ANCHORS as usize * head.cells(request), ROW] {
            return None;
        }
        for row in output.of_picture(request.batch_index)?.as_chunks::<ROW>().0 {
            let [x, y, width, height, score, _] = *row;
            if score > request.threshold.get() {
                let bbox = InputBox::around([x, y], [width, height]);
                candidates.push(Candidate { bbox, class_id: ClassId(0), score });
            }
        }
        Some(())
    }

    fn expected(&self, head: &Head, request: &DecodeRequest) -> String {
        format!("[batch, {}, {ROW}]", ANCHORS as usize * head.cells(request))
    }
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceThreshold;

    use super::*;

    #[test]
    fn the_score_is_that_of_an_object() {
        // Three boxes for the only cell of 8 × 8 pixels, of two pictures.
        let mut data = [0.0; 2 * 3 * ROW];
        data[4 * ROW..5 * ROW].copy_from_slice(&[4.0, 4.0, 2.0, 6.0, 0.75, 0.25]);
        let head = Head { kind: HeadKind::YOLOV7_ONE_CLASS, strides: vec![8], classes: 1 };
        let request = DecodeRequest {
            batch_index: 1,
            input_width: 8,
            input_height: 8,
            threshold: ConfidenceThreshold::new(0.5).unwrap(),
        };
        let outputs = [OutputView { shape: &[2, 3, 6], data: &data }];
        let mut found = Vec::new();
        head.decode_boxes(&outputs, &request, &mut found).unwrap();
        let bbox = InputBox { x1: 3.0, y1: 1.0, x2: 5.0, y2: 7.0 };
        assert_eq!(found, [Candidate { bbox, class_id: ClassId(0), score: 0.75 }]);
    }
}
