//! RT-DETR and D-FINE as transformers and optimum export them: `logits` and `pred_boxes` of queries.
//!
//! The input `pixel_values` is stretched by a bilinear resize with antialiasing (`RTDetrImageProcessor`). DETR, YOLOS and
//! others have outputs of the same names, but a class that stands for no object; they neither sample with deformable
//! attention (`GridSample`) nor select their queries (`TopK`). [RF-DETR](HeadKind::RF_DETR) by transformers does both,
//! but begins with a vision transformer, and is another family.

use super::{
    declared::{Declared, Ends, Shapes},
    family::{DecodeRequest, Duplicates, Family, Head, HeadKind, Layout, Levels, Mismatch, Sizes},
    queries::{self, Queries},
    rt_detr,
};
use crate::{postprocess::candidate::Candidate, tensor::OutputView};

impl HeadKind {
    /// RT-DETR or D-FINE: `[batch, queries, classes]` logits, `[batch, queries, 4]` centre and size.
    pub const RT_DETR_TRANSFORMERS: Self = Self(&Family {
        name: "rt-detr-transformers",
        described: Some("logits and pred_boxes (D-FINE, RT-DETR by transformers)"),
        preprocessing: rt_detr::PREPROCESSING,
        duplicates: Duplicates::Absent,
        sizes: Sizes::One,
        layout: &RtDetrTransformers,
    });
}

struct RtDetrTransformers;

impl Layout for RtDetrTransformers {
    fn claim(&self, file: &Declared<'_>) -> Option<Ends> {
        let has = |name| file.output(name).is_some_and(|end| end.element.is_float());
        let is_ours = file.others.is_empty()
            && has("logits")
            && has("pred_boxes")
            && file.has_operator("GridSample")
            && file.has_operator("TopK")
            && !file.has_patches();
        is_ours.then(|| Ends::of(&["logits", "pred_boxes"]))
    }

    fn readings(&self, shapes: &Shapes<'_>) -> Vec<Levels> {
        match shapes.outputs {
            [logits, boxes] if logits.len() == 2 && boxes[..] == [logits[0], 4] => {
                Shapes::classes(logits[1]).map(Levels::without_cells).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn mismatch(&self, _: &Head, outputs: &[OutputView<'_>], _: usize) -> Option<Mismatch> {
        let [logits, boxes] = outputs else { return None };
        queries::mismatch(logits, boxes)
    }

    fn decode(
        &self,
        head: &Head,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()> {
        let [logits, boxes] = outputs else { return None };
        let [_, columns] = logits.picture_shape()?;
        if columns != head.classes {
            return None;
        }
        Queries { logits, boxes, classes: columns }.decode(request, candidates)
    }

    fn expected(&self, head: &Head, _: &DecodeRequest) -> String {
        format!("[batch, queries, {}] and [batch, queries, 4]", head.classes)
    }
}
