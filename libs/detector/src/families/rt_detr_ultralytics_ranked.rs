//! RT-DETR as Ultralytics has exported it since it ranks the boxes itself: one output `[batch, boxes, 6]`.
//!
//! Each row holds a box's centre x, centre y, width and height in parts of the picture, its score and its class
//! (`RTDETRDecoder.postprocess`, `RTDETRPredictor.postprocess`). The rows are the best pairs of a query and a class, so a box
//! may come with two classes. [Earlier versions](HeadKind::RT_DETR_ULTRALYTICS) give the scores of all classes: with two
//! classes, their rows have as many values, but the last one is a score, not a whole number.

use super::{
    declared::{Declared, Ends, Shapes},
    family::{DecodeRequest, Duplicates, Family, Head, HeadKind, Layout, Levels, Mismatch, Sizes},
    named_box::NamedBox,
    rt_detr_ultralytics::{self, MOST_QUERIES, are_ranked},
};
use crate::{input_box::InputBox, postprocess::candidate::Candidate, tensor::OutputView};

/// Values of a row.
const ROW: usize = 6;

impl HeadKind {
    /// RT-DETR by Ultralytics: `[batch, boxes, 6]`, centre and size from 0 to 1, score and class.
    pub const RT_DETR_ULTRALYTICS_RANKED: Self = Self(&Family {
        name: "rt-detr-ultralytics-ranked",
        described: Some("[batch, boxes, 6] of deformable attention (RT-DETR by Ultralytics)"),
        preprocessing: rt_detr_ultralytics::PREPROCESSING,
        duplicates: Duplicates::Absent,
        sizes: Sizes::One,
        layout: &RtDetrUltralyticsRanked,
    });
}

struct RtDetrUltralyticsRanked;

impl Layout for RtDetrUltralyticsRanked {
    fn claim(&self, file: &Declared<'_>) -> Option<Ends> {
        rt_detr_ultralytics::claim(file)
    }

    fn readings(&self, shapes: &Shapes<'_>) -> Vec<Levels> {
        match shapes.outputs {
            [rows] if rows.len() == 2 && rows[0] <= MOST_QUERIES && rows[1] == ROW as u64 => {
                vec![Levels::without_cells(shapes.classes_by_name())]
            }
            _ => Vec::new(),
        }
    }

    fn mismatch(&self, _: &Head, outputs: &[OutputView<'_>], _: usize) -> Option<Mismatch> {
        let output = outputs.first()?;
        if let Some(mismatch) = Mismatch::of_numbers(output.data) {
            return Some(mismatch);
        }
        if !are_ranked(output) {
            return Some(Mismatch {
                found: "rows of six values of which the last is no class",
                expected: "centre and size of a box in parts of the picture, score and class",
            });
        }
        let mut rows = output.data.as_chunks::<ROW>().0.iter();
        rows.find_map(|row| {
            Mismatch::of_parts(&row[..4]).or_else(|| Mismatch::of_scores(&row[4..5]))
        })
    }

    fn decode(
        &self,
        _: &Head,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()> {
        let [output] = outputs else { return None };
        let [_, ROW] = output.picture_shape()? else { return None };
        let [across, down] = [request.input_width as f32, request.input_height as f32];
        for row in output.of_picture(request.batch_index)?.as_chunks::<ROW>().0 {
            let [x, y, width, height, score, class] = *row;
            let bbox = InputBox::around([x * across, y * down], [width * across, height * down]);
            let found = NamedBox { corners: bbox.sides(), class, score };
            candidates.extend(found.above(request.threshold));
        }
        Some(())
    }

    fn expected(&self, _: &Head, _: &DecodeRequest) -> String {
        format!("[batch, boxes, {ROW}]")
    }
}

#[cfg(test)]
mod tests {
    use domain::{ClassId, ConfidenceThreshold};

    use super::*;

    /// Two boxes of two classes each: a score and a class, or the scores of two classes.
    const RANKED: [f32; 12] = [0.5, 0.25, 0.5, 0.5, 0.75, 3.0, 0.5, 0.25, 0.5, 0.5, 0.25, 1.0];
    const OF_TWO_CLASSES: [f32; 12] = [0.5, 0.5, 0.2, 0.2, 0.9, 0.1, 0.5, 0.5, 0.2, 0.2, 0.3, 0.6];

    fn head(kind: HeadKind) -> Head {
        Head { kind, strides: Vec::new(), classes: 2 }
    }

    #[test]
    fn a_box_in_parts_of_the_picture_may_come_with_two_classes() {
        let request = |confidence: f32| DecodeRequest {
            batch_index: 1,
            input_width: 64,
            input_height: 32,
            threshold: ConfidenceThreshold::new(confidence).unwrap(),
        };
        let data = [[0.0; 12], RANKED].concat();
        let outputs = [OutputView { shape: &[2, 2, 6], data: &data }];
        let found = |confidence| {
            let mut found = Vec::new();
            let head = head(HeadKind::RT_DETR_ULTRALYTICS_RANKED);
            head.decode_boxes(&outputs, &request(confidence), &mut found).unwrap();
            found
        };
        let bbox = InputBox { x1: 16.0, y1: 0.0, x2: 48.0, y2: 16.0 };
        let best = Candidate { bbox, class_id: ClassId(3), score: 0.75 };
        // Only scores above the threshold count.
        assert_eq!(found(0.25), [best]);
        assert_eq!(found(0.2), [best, Candidate { class_id: ClassId(1), score: 0.25, ..best }]);
    }

    #[test]
    fn the_last_column_tells_the_versions_apart() {
        for (rows, is_ranked) in [(RANKED, true), (OF_TWO_CLASSES, false)] {
            let outputs = [OutputView { shape: &[1, 2, 6], data: &rows }];
            let fits = |kind| head(kind).mismatch(&outputs, 64).is_none();
            assert_eq!(fits(HeadKind::RT_DETR_ULTRALYTICS_RANKED), is_ranked);
            assert_eq!(fits(HeadKind::RT_DETR_ULTRALYTICS), !is_ranked);
        }
    }

    #[test]
    fn boxes_in_pixels_and_scores_without_sigmoid_do_not_fit() {
        for (place, value) in [(0, 320.0), (4, 3.0), (5, -1.0)] {
            let mut rows = RANKED;
            rows[6 + place] = value;
            let outputs = [OutputView { shape: &[1, 2, 6], data: &rows }];
            let head = head(HeadKind::RT_DETR_ULTRALYTICS_RANKED);
            assert!(head.mismatch(&outputs, 640).is_some(), "{value} at {place}");
        }
    }
}
