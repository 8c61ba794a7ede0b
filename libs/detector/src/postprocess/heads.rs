//! From a model's outputs to candidates. Each kind of head has a file of its own.
//!
//! *Candidates* are boxes in pixels of the model's input, before [`non_maximum_suppression`](crate::postprocess::nms::non_maximum_suppression).

mod head;
mod scan;
mod yolov8;
mod yolov8_cut;
mod yolox;

pub(crate) use head::cut_output;
pub use head::{DecodeRequest, Head, HeadKind};

use crate::{error::DetectError, postprocess::candidate::Candidate, tensor::OutputView};

impl Head {
    /// Appends the candidates of one picture to `candidates`, in no particular order.
    ///
    /// A candidate with an infinite or NaN value is dropped: it comes from an overflow in the model, and JSON has
    /// no such numbers, so a record with one could be stored but not read.
    ///
    /// # Errors
    /// [`DetectError::UnexpectedOutput`] when the outputs do not have the shapes of this head.
    pub fn decode_boxes(
        &self,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), DetectError> {
        let decoded = match self.kind {
            HeadKind::Yolov8Cut => yolov8_cut::decode(self, outputs, request, candidates),
            HeadKind::Yolov8 => yolov8::decode(self, outputs, request, candidates),
            HeadKind::Yolox => yolox::decode(self, outputs, request, candidates),
        };
        decoded.ok_or_else(|| self.unexpected(outputs, request))?;
        candidates.retain(Candidate::is_finite);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceThreshold;

    use super::*;

    #[test]
    fn outputs_of_another_shape_are_refused() {
        let request = DecodeRequest {
            batch_index: 0,
            input_width: 32,
            input_height: 32,
            threshold: ConfidenceThreshold::default(),
        };
        let data = [0.0; 84 * 21];
        let right: &[i64] = &[1, 84, 21];
        for (shape, batch_index) in
            [(&[1, 21, 84][..], 0), (&[1, 84], 0), (&[1, 84, 21, 1], 0), (right, 1), (&[], 0)]
        {
            for kind in [HeadKind::Yolov8, HeadKind::Yolov8Cut, HeadKind::Yolox] {
                let head = Head { kind, strides: vec![8, 16, 32], classes: 80 };
                let request = DecodeRequest { batch_index, ..request };
                let outputs = [OutputView { shape, data: &data }];
                let error = head.decode_boxes(&outputs, &request, &mut Vec::new());
                assert!(
                    matches!(error, Err(DetectError::UnexpectedOutput { .. })),
                    "{kind:?} {shape:?}: {error:?}"
                );
            }
        }
        let head = Head { kind: HeadKind::Yolov8, strides: vec![8, 16, 32], classes: 80 };
        let outputs = [OutputView { shape: right, data: &data }];
        assert!(head.decode_boxes(&outputs, &request, &mut Vec::new()).is_ok());
    }

    #[test]
    fn what_is_no_number_is_no_candidate() {
        let request = DecodeRequest {
            batch_index: 0,
            input_width: 8,
            input_height: 8,
            threshold: ConfidenceThreshold::default(),
        };
        let check = |kind, classes, outputs: &[OutputView<'_>], expected: usize| {
            let head = Head { kind, strides: vec![8], classes };
            let mut candidates = Vec::new();
            head.decode_boxes(outputs, &request, &mut candidates).unwrap();
            assert_eq!(candidates.len(), expected, "{kind:?}: {candidates:?}");
        };
        for (odd, expected) in
            [(f32::NAN, 0), (f32::INFINITY, 0), (f32::NEG_INFINITY, 0), (f32::MAX, 1), (1.0, 1)]
        {
            let box_and_score = [0.0, 0.0, odd, 1.0, 0.9];
            let output = OutputView { shape: &[1, 5, 1], data: &box_and_score };
            check(HeadKind::Yolov8, 1, &[output], expected);
        }
        for (size, expected) in [(f32::NAN, 0), (f32::MAX, 0), (1.0, 1)] {
            let row = [0.5, 0.5, size, 1.0, 0.9, 0.9];
            let output = OutputView { shape: &[1, 1, 6], data: &row };
            check(HeadKind::Yolox, 1, &[output], expected);
        }
        for (distance, expected) in [(f32::NAN, 0), (f32::NEG_INFINITY, 0), (1.0, 1)] {
            let distances = [distance; 8];
            let boxes = OutputView { shape: &[1, 8, 1, 1], data: &distances };
            let scores = OutputView { shape: &[1, 1, 1, 1], data: &[5.0] };
            check(HeadKind::Yolov8Cut, 1, &[boxes, scores], expected);
        }
        let infinite_score = [0.0, 0.0, 1.0, 1.0, f32::INFINITY];
        let output = OutputView { shape: &[1, 5, 1], data: &infinite_score };
        check(HeadKind::Yolov8, 1, &[output], 0);
    }

    #[test]
    fn an_output_without_the_elements_of_its_shape_is_refused() {
        let request = DecodeRequest {
            batch_index: 0,
            input_width: 8,
            input_height: 8,
            threshold: ConfidenceThreshold::default(),
        };
        let head = Head { kind: HeadKind::Yolov8Cut, strides: vec![8], classes: 1 };
        let scores = OutputView { shape: &[1, 1, 1, 1], data: &[5.0] };
        for elements in [0, 4, 7, 9] {
            let data = vec![0.0; elements];
            let boxes = OutputView { shape: &[1, 8, 1, 1], data: &data };
            let decoded = head.decode_boxes(&[boxes, scores], &request, &mut Vec::new());
            assert!(matches!(decoded, Err(DetectError::UnexpectedOutput { .. })), "{elements}");
        }
    }
}
