//! Decodes outputs of any shape and content to boxes: finite, and no more than requested.

#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use detector::{
    families::{DecodeRequest, HEADS, Head},
    postprocess::nms::{Scope, Suppression, best, non_maximum_suppression},
    tensor::OutputView,
};
use domain::{ConfidenceThreshold, IouThreshold, MaxDetections};
use libfuzzer_sys::fuzz_target;

/// Classes that outputs name are numbers below this.
const MOST_CLASSES: usize = 1 << 16;

/// Outputs that a model could have, and the settings of the request.
#[derive(Debug)]
struct Run {
    head: Head,
    request: DecodeRequest,
    outputs: Vec<(Vec<i64>, Vec<f32>)>,
    suppression: Suppression,
}

impl<'a> Arbitrary<'a> for Run {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let kind = *u.choose(HEADS)?;
        let strides =
            u.choose(&[&[8, 16, 32][..], &[4, 8, 16, 32], &[8], &[16, 64], &[]])?.to_vec();
        let head = Head { kind, strides, classes: u.int_in_range(0..=90)? };
        let request = DecodeRequest {
            batch_index: u.int_in_range(0..=2)?,
            input_width: u.int_in_range(0..=12)? * 8,
            input_height: u.int_in_range(0..=12)? * 8,
            threshold: ConfidenceThreshold::new(u.int_in_range(0..=100)? as f32 / 100.0)
                .expect("from 0 to 1"),
        };
        let mut outputs = Vec::new();
        for shape in right_shapes(&head, &request, u)? {
            outputs.push(output(shape, u)?);
        }
        if u.ratio(1, 8)? {
            outputs.pop();
        }
        Ok(Self {
            head,
            request,
            outputs,
            suppression: Suppression {
                iou: IouThreshold::new(u.int_in_range(0..=100)? as f32 / 100.0)
                    .expect("from 0 to 1"),
                max_detections: MaxDetections::try_from(u.int_in_range(1..=1000)?)
                    .expect("in range"),
                // Last, so that the seeds keep their meaning.
                scope: if bool::arbitrary(u)? { Scope::AllClasses } else { Scope::EachClass },
            },
        })
    }
}

/// The shapes that the head expects, so that most inputs pass the check of shapes.
fn right_shapes(
    head: &Head,
    request: &DecodeRequest,
    u: &mut Unstructured<'_>,
) -> Result<Vec<Vec<i64>>> {
    let batch = u.int_in_range(1..=2)?;
    let grid = |stride: &u32| {
        let stride = *stride as usize;
        [(request.input_height / stride) as i64, (request.input_width / stride) as i64]
    };
    let cells: i64 = head.strides.iter().map(|stride| grid(stride).iter().product::<i64>()).sum();
    let classes = head.classes as i64;
    let bins = u.int_in_range(0..=17)?;
    let queries = u.int_in_range(0..=20)?;
    Ok(match head.kind.name() {
        "yolov8" => vec![vec![batch, 4 + classes, cells]],
        "yolox" | "yolox-decoded" => vec![vec![batch, cells, 5 + classes]],
        "yolov5" => vec![vec![batch, 3 * cells, 5 + classes]],
        "yolov7-one-class" => vec![vec![batch, 3 * cells, 6]],
        "end-to-end" | "rt-detr-ultralytics-ranked" => vec![vec![batch, queries, 6]],
        "nms-rows" => vec![vec![queries, 7]],
        "rt-detr" => vec![vec![batch, queries], vec![batch, queries, 4], vec![batch, queries]],
        "rt-detr-transformers" => vec![vec![batch, queries, classes], vec![batch, queries, 4]],
        "rt-detr-ultralytics" => vec![vec![batch, queries, 4 + classes]],
        "rf-detr" => vec![vec![batch, queries, 4], vec![batch, queries, classes + 1]],
        // Of the cut head; a head that is missing here is still given outputs, if of wrong shapes.
        _ => {
            let level = |stride| {
                let [rows, columns] = grid(stride);
                [vec![batch, 4 * bins, rows, columns], vec![batch, classes, rows, columns]]
            };
            head.strides.iter().flat_map(level).collect()
        }
    })
}

/// An output of this shape, sometimes of another one, or with more or fewer elements than its shape.
fn output(mut shape: Vec<i64>, u: &mut Unstructured<'_>) -> Result<(Vec<i64>, Vec<f32>)> {
    if u.ratio(1, 16)? {
        let at = u.choose_index(shape.len())?;
        shape[at] = *u.choose(&[-1, 0, 1, 2, 5, i64::MAX, i64::MIN])?;
    }
    if u.ratio(1, 32)? {
        shape.pop();
    }
    let mut len = 1_i64;
    for size in &shape {
        len = len.saturating_mul(*size);
    }
    let mut len = len.clamp(0, 1 << 16) as usize;
    if u.ratio(1, 16)? {
        len = u.int_in_range(0..=len + 3)?;
    }
    // A few repeated values: the outputs are far longer than an input of the fuzzer.
    let mut values = Vec::new();
    for _ in 0..u.int_in_range(1..=24)? {
        values.push(value(u)?);
    }
    Ok((shape, values.into_iter().cycle().take(len).collect()))
}

fn value(u: &mut Unstructured<'_>) -> Result<f32> {
    const ODD: [f32; 10] = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        -0.0,
        0.0,
        1.0,
        88.8,
    ];
    match u.int_in_range(0..=2)? {
        0 => Ok(*u.choose(&ODD)?),
        1 => u.arbitrary(),
        _ => Ok(u.arbitrary::<i16>()? as f32 / 256.0),
    }
}

fuzz_target!(|run: Run| {
    let outputs: Vec<OutputView<'_>> =
        run.outputs.iter().map(|(shape, data)| OutputView { shape, data }).collect();
    let mut candidates = Vec::new();
    if run.head.decode_boxes(&outputs, &run.request, &mut candidates).is_err() {
        return;
    }
    let values = outputs.iter().map(|output| output.data.len()).sum();
    assert!(candidates.len() <= values, "more boxes than values");
    for found in &candidates {
        let bbox = found.bbox;
        // JSON has finite numbers only: a record with another one could be stored, but never parsed.
        for number in [bbox.x1, bbox.y1, bbox.x2, bbox.y2, found.score] {
            assert!(number.is_finite(), "{found:?}");
        }
        assert!(found.score > run.request.threshold.get());
        assert!((found.class_id.0 as usize) < MOST_CLASSES);
    }
    let ranked = best(&candidates, run.suppression.max_detections);
    assert!(ranked.len() <= candidates.len() && ranked.is_sorted_by(|a, b| a.score >= b.score));
    let kept = non_maximum_suppression(&candidates, run.suppression);
    assert!(kept.len() <= usize::from(run.suppression.max_detections.get()));
    assert!(kept.len() <= candidates.len() && kept.is_empty() == candidates.is_empty());
    assert!(kept.is_sorted_by(|a, b| a.score >= b.score));
});
