//! RF-DETR: `dets` and `labels` of queries; by transformers, `pred_boxes` and `logits`.
//!
//! The input is stretched by a bilinear resize of floats without antialiasing, and standardised by the mean and deviation
//! of ImageNet (`RFDETR.predict`; `RfDetrImageProcessor` in transformers). A row of `labels` has a logit more than there
//! are classes; with COCO's it is indexed by the identifiers of COCO's categories, which have gaps.

use super::{
    declared::{Declared, Ends, Shapes},
    family::{DecodeRequest, Duplicates, Family, Head, HeadKind, Layout, Levels, Mismatch, Sizes},
    queries::{self, Queries},
};
use crate::{
    postprocess::candidate::Candidate,
    preprocess::letterbox::{ChannelOrder, Placement, Preprocessing, Resampling, ValueRange},
    tensor::OutputView,
};

impl HeadKind {
    /// RF-DETR: `[batch, queries, 4]` centre and size, `[batch, queries, classes + 1]` logits.
    pub const RF_DETR: Self = Self(&Family {
        name: "rf-detr",
        described: Some("dets and labels of floats (RF-DETR)"),
        preprocessing: Preprocessing {
            placement: Placement::Stretch,
            resampling: Resampling::BilinearFloat,
            channels: ChannelOrder::Rgb,
            range: ValueRange::Standardised {
                mean: [0.485, 0.456, 0.406],
                deviation: [0.229, 0.224, 0.225],
            },
        },
        duplicates: Duplicates::Absent,
        sizes: Sizes::One,
        layout: &RfDetr,
    });
}

struct RfDetr;

impl Layout for RfDetr {
    fn claim(&self, file: &Declared<'_>) -> Option<Ends> {
        let has = |name| {
            file.output(name).is_some_and(|end| {
                end.element.is_float() && (end.shape.is_empty() || end.shape.len() == 3)
            })
        };
        let by_transformers = || file.has_patches() && file.has_operator("GridSample");
        let outputs = if has("dets") && has("labels") {
            ["dets", "labels"]
        } else if has("pred_boxes") && has("logits") && by_transformers() {
            ["pred_boxes", "logits"]
        } else {
            return None;
        };
        file.others.is_empty().then(|| Ends::of(&outputs))
    }

    fn readings(&self, shapes: &Shapes<'_>) -> Vec<Levels> {
        match shapes.outputs {
            [boxes, logits] if logits.len() == 2 && boxes[..] == [logits[0], 4] => {
                let Some(columns) = Shapes::classes(logits[1]) else { return Vec::new() };
                // The last logit stands for no class, unless there is a name for it.
                let classes =
                    if shapes.labels == Some(columns - 1) { columns - 1 } else { columns };
                vec![Levels::without_cells(classes)]
            }
            _ => Vec::new(),
        }
    }

    fn mismatch(&self, _: &Head, outputs: &[OutputView<'_>], _: usize) -> Option<Mismatch> {
        let [boxes, logits] = outputs else { return None };
        queries::mismatch(logits, boxes)
    }

    fn decode(
        &self,
        head: &Head,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()> {
        let [boxes, logits] = outputs else { return None };
        let [_, columns] = logits.picture_shape()?;
        if ![head.classes, head.classes + 1].contains(&columns) {
            return None;
        }
        Queries { logits, boxes, classes: head.classes }.decode(request, candidates)
    }

    fn expected(&self, head: &Head, _: &DecodeRequest) -> String {
        format!("[batch, queries, 4] and [batch, queries, {}]", head.classes + 1)
    }
}
