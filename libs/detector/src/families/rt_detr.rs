//! RT-DETR, D-FINE, DEIM and DEIMv2 as their own repositories export them: labels, boxes and scores.
//!
//! `labels` `[batch, boxes]`, `boxes` `[batch, boxes, 4]`, left, top, right and bottom edge scaled to the size in the input
//! `orig_target_sizes`, and `scores` `[batch, boxes]` (`RTDETRPostProcessor.forward` with `deploy`). An object has one
//! box; the model gives the 300 best pairs of a box and a class, so a box may come with two classes.

use super::{
    declared::{Declared, Ends, Shapes},
    family::{DecodeRequest, Duplicates, Family, Head, HeadKind, Layout, Levels, Mismatch, Sizes},
    named_box::NamedBox,
};
use crate::{
    postprocess::candidate::Candidate,
    preprocess::letterbox::{ChannelOrder, Placement, Preprocessing, Resampling, ValueRange},
    tensor::OutputView,
};

impl HeadKind {
    /// DEIM, D-FINE or RT-DETR: `[batch, boxes]` labels, `[batch, boxes, 4]` corners, `[batch, boxes]` scores.
    pub const RT_DETR: Self = Self(&Family {
        name: "rt-detr",
        described: Some(
            "labels, boxes and scores beside an input orig_target_sizes (DEIM, D-FINE, RT-DETR)",
        ),
        preprocessing: PREPROCESSING,
        duplicates: Duplicates::Absent,
        sizes: Sizes::One,
        layout: &RtDetr,
    });
}

/// The repositories resize with torchvision on a Pillow picture, which antialiases. For DEIMv2 femto on 79 COCO pictures,
/// OpenCV's bilinear resize costs 0.006 of mAP50-95 (0.3488 → 0.3425).
pub(super) const PREPROCESSING: Preprocessing = Preprocessing {
    placement: Placement::Stretch,
    resampling: Resampling::Antialiased,
    channels: ChannelOrder::Rgb,
    range: ValueRange::Unit,
};

struct RtDetr;

impl Layout for RtDetr {
    fn claim(&self, file: &Declared<'_>) -> Option<Ends> {
        let [size] = &file.others[..] else { return None };
        let has_rank = |name, rank| {
            file.output(name).is_some_and(|end| end.shape.is_empty() || end.shape.len() == rank)
        };
        let is_ours = size.name == "orig_target_sizes"
            && has_rank("labels", 2)
            && has_rank("boxes", 3)
            && has_rank("scores", 2);
        let size_input = Some(size.name.clone());
        is_ours.then(|| Ends { size_input, ..Ends::of(&["labels", "boxes", "scores"]) })
    }

    fn readings(&self, shapes: &Shapes<'_>) -> Vec<Levels> {
        match shapes.outputs {
            [labels, boxes, scores]
                if labels == scores && labels.len() == 1 && boxes[..] == [labels[0], 4] =>
            {
                vec![Levels::without_cells(shapes.classes_by_name())]
            }
            _ => Vec::new(),
        }
    }

    fn mismatch(&self, _: &Head, outputs: &[OutputView<'_>], _: usize) -> Option<Mismatch> {
        let [labels, _, scores] = outputs else { return None };
        if labels.data.iter().any(|label| label.fract() != 0.0 || *label < 0.0) {
            return Some(Mismatch {
                found: "labels that are no numbers of classes",
                expected: "labels",
            });
        }
        Mismatch::of_scores(scores.data)
    }

    fn decode(
        &self,
        _: &Head,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()> {
        let [labels, boxes, scores] = outputs else { return None };
        let [queries] = scores.picture_shape()?;
        if labels.picture_shape()? != [queries] || boxes.picture_shape()? != [queries, 4] {
            return None;
        }
        let [labels, boxes, scores] =
            [labels, boxes, scores].map(|o| o.of_picture(request.batch_index));
        let boxes = boxes?.as_chunks::<4>().0;
        for ((&class, &corners), &score) in labels?.iter().zip(boxes).zip(scores?) {
            candidates.extend(NamedBox { corners, class, score }.above(request.threshold));
        }
        Some(())
    }

    fn expected(&self, _: &Head, _: &DecodeRequest) -> String {
        "[batch, boxes], [batch, boxes, 4] and [batch, boxes]".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceThreshold;

    use super::*;

    #[test]
    fn a_box_may_come_with_two_classes() {
        let corners = [1.0, 2.0, 30.0, 20.0];
        let boxes = [corners, corners, corners].concat();
        let outputs = [
            OutputView { shape: &[1, 3], data: &[5.0, 7.0, 2.0] },
            OutputView { shape: &[1, 3, 4], data: &boxes },
            OutputView { shape: &[1, 3], data: &[0.75, 0.5, 0.125] },
        ];
        let head = Head { kind: HeadKind::RT_DETR, strides: Vec::new(), classes: 80 };
        let request = DecodeRequest {
            batch_index: 0,
            input_width: 32,
            input_height: 32,
            threshold: ConfidenceThreshold::new(0.25).unwrap(),
        };
        let mut found = Vec::new();
        head.decode_boxes(&outputs, &request, &mut found).unwrap();
        let found: Vec<_> = found.iter().map(|found| (found.class_id.0, found.score)).collect();
        assert_eq!(found, [(5, 0.75), (7, 0.5)]);
    }
}
