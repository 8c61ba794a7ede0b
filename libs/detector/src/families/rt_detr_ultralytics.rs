//! RT-DETR as Ultralytics exports it: one output `[batch, queries, 4 + classes]`.
//!
//! Each row holds a box's centre x, centre y, width and height in parts of the picture, then the final score of each class
//! (`RTDETRDecoder.forward`); a query is of its best class (`RTDETRPredictor.postprocess`). The picture is stretched by
//! OpenCV's bilinear resize.

use domain::ClassId;

use super::{
    declared::{Declared, Ends, Shapes},
    family::{DecodeRequest, Duplicates, Family, Head, HeadKind, Layout, Levels, Mismatch, Sizes},
    rt_detr,
    scan::best_class,
};
use crate::{
    input_box::InputBox,
    postprocess::candidate::Candidate,
    preprocess::letterbox::{Preprocessing, Resampling},
    tensor::OutputView,
};

/// RT-DETR has 300 queries.
const MOST_QUERIES: u64 = 1000;

impl HeadKind {
    /// RT-DETR by Ultralytics: `[batch, queries, 4 + classes]`, centre and size from 0 to 1, and final scores.
    pub const RT_DETR_ULTRALYTICS: Self = Self(&Family {
        name: "rt-detr-ultralytics",
        described: Some("[batch, queries, 4 + classes] (RT-DETR by Ultralytics)"),
        preprocessing: Preprocessing { resampling: Resampling::Bilinear, ..rt_detr::PREPROCESSING },
        duplicates: Duplicates::Absent,
        sizes: Sizes::One,
        layout: &RtDetrUltralytics,
    });
}

struct RtDetrUltralytics;

impl Layout for RtDetrUltralytics {
    /// Only deformable attention has the operator `GridSample`.
    fn claim(&self, file: &Declared<'_>) -> Option<Ends> {
        file.one_output(2).filter(|_| file.has_operator("GridSample"))
    }

    fn readings(&self, shapes: &Shapes<'_>) -> Vec<Levels> {
        match shapes.outputs {
            [rows] if rows.len() == 2 && rows[0] <= MOST_QUERIES => {
                let classes = Shapes::classes(rows[1].saturating_sub(4));
                classes.map(Levels::without_cells).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn mismatch(&self, _: &Head, outputs: &[OutputView<'_>], _: usize) -> Option<Mismatch> {
        let output = outputs.first()?;
        // Two classes, or a score and a class as newer versions export them.
        let names_classes = |row: &[f32; 6]| row[5].fract() == 0.0;
        if output.picture_shape::<2>()?[1] == 6
            && output.data.as_chunks().0.iter().all(names_classes)
        {
            return Some(Mismatch {
                found: "rows of a box in parts of the picture, a score and a class",
                expected: "a score for each class, as earlier versions of Ultralytics export RT-DETR",
            });
        }
        Mismatch::of_scores(output.data)
    }

    fn decode(
        &self,
        head: &Head,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()> {
        let [output] = outputs else { return None };
        let width = 4 + head.classes;
        let [_, columns] = output.picture_shape()?;
        if columns != width {
            return None;
        }
        let [across, down] = [request.input_width as f32, request.input_height as f32];
        for row in output.of_picture(request.batch_index)?.chunks_exact(width) {
            let Some((class, score)) = best_class(&row[4..]) else { continue };
            if score > request.threshold.get() {
                let bbox = InputBox::around(
                    [row[0] * across, row[1] * down],
                    [row[2] * across, row[3] * down],
                );
                candidates.push(Candidate { bbox, class_id: ClassId(class), score });
            }
        }
        Some(())
    }

    fn expected(&self, head: &Head, _: &DecodeRequest) -> String {
        format!("[batch, queries, {}]", 4 + head.classes)
    }
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceThreshold;

    use super::*;

    #[test]
    fn boxes_are_parts_of_the_picture() {
        let data = [0.5, 0.25, 0.5, 0.5, 0.125, 0.75, 0.5, 0.25, 0.5, 0.5, 0.25, 0.25];
        let head = Head { kind: HeadKind::RT_DETR_ULTRALYTICS, strides: Vec::new(), classes: 2 };
        let request = DecodeRequest {
            batch_index: 0,
            input_width: 64,
            input_height: 32,
            threshold: ConfidenceThreshold::new(0.5).unwrap(),
        };
        let outputs = [OutputView { shape: &[1, 2, 6], data: &data }];
        let mut found = Vec::new();
        head.decode_boxes(&outputs, &request, &mut found).unwrap();
        let bbox = InputBox { x1: 16.0, y1: 0.0, x2: 48.0, y2: 16.0 };
        assert_eq!(found, [Candidate { bbox, class_id: ClassId(1), score: 0.75 }]);
    }

    #[test]
    fn rows_of_newer_versions_are_not_taken_for_two_classes() {
        let head = Head { kind: HeadKind::RT_DETR_ULTRALYTICS, strides: Vec::new(), classes: 2 };
        let is_refused = |rows: &[f32; 12]| {
            let outputs = [OutputView { shape: &[1, 2, 6], data: rows }];
            head.mismatch(&outputs, 64).is_some()
        };
        // The last two values are the scores of two classes, or a score and a class.
        assert!(!is_refused(&[0.5, 0.5, 0.2, 0.2, 0.9, 0.1, 0.5, 0.5, 0.2, 0.2, 0.3, 0.6]));
        assert!(is_refused(&[0.5, 0.5, 0.2, 0.2, 0.9, 1.0, 0.5, 0.5, 0.2, 0.2, 0.6, 0.0]));
    }
}
