//! RT-DETR as earlier versions of Ultralytics exported it: one output `[batch, queries, 4 + classes]`.
//!
//! Each row holds a box's centre x, centre y, width and height in parts of the picture, then the final score of each class
//! (`RTDETRDecoder.forward`); a query is of its best class (`RTDETRPredictor.postprocess`). The picture is stretched by
//! OpenCV's bilinear resize. [Newer versions](HeadKind::RT_DETR_ULTRALYTICS_RANKED) give a score and a class instead.

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
pub(super) const MOST_QUERIES: u64 = 1000;

/// That of RT-DETR, with OpenCV's resize (`RTDETRPredictor`, `scale_fill`).
pub(super) const PREPROCESSING: Preprocessing =
    Preprocessing { resampling: Resampling::Bilinear, ..rt_detr::PREPROCESSING };

impl HeadKind {
    /// RT-DETR by Ultralytics: `[batch, queries, 4 + classes]`, centre and size from 0 to 1, and final scores.
    pub const RT_DETR_ULTRALYTICS: Self = Self(&Family {
        name: "rt-detr-ultralytics",
        described: Some("[batch, queries, 4 + classes] (RT-DETR by Ultralytics)"),
        preprocessing: PREPROCESSING,
        duplicates: Duplicates::Absent,
        sizes: Sizes::One,
        layout: &RtDetrUltralytics,
    });
}

struct RtDetrUltralytics;

impl Layout for RtDetrUltralytics {
    fn claim(&self, file: &Declared<'_>) -> Option<Ends> {
        claim(file)
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
        if are_ranked(output) {
            return Some(Mismatch {
                found: "rows of a box, a score and a class",
                expected: "a score for each class",
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

/// One output of boxes. Only deformable attention has the operator `GridSample`.
pub(super) fn claim(file: &Declared<'_>) -> Option<Ends> {
    file.one_output(2).filter(|_| file.has_operator("GridSample"))
}

/// Whether rows of six values end in the number of a class, rather than in the score of the second of two classes.
pub(super) fn are_ranked(output: &OutputView<'_>) -> bool {
    let names_class = |row: &[f32; 6]| row[5].fract() == 0.0 && row[5] >= 0.0;
    matches!(output.picture_shape(), Some([_, 6]))
        && output.data.as_chunks().0.iter().all(names_class)
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
}
