//! Postprocessing: decoding boxes, and non-maximum suppression.
//!
//! In the generated outputs about as many cells pass as in a street scene: some dozens with a threshold
//! of 0.25, about two thousand with 0.001.

#![allow(clippy::expect_used)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use detector::{
    Candidate,
    families::{DecodeRequest, Head, HeadKind},
    postprocess::nms::{Suppression, non_maximum_suppression},
    tensor::OutputView,
};
use domain::{ConfidenceThreshold, DetectionSettings};
use rand::{RngExt, SeedableRng, rngs::StdRng};

const CLASSES: usize = 80;
const CONFIDENCES: [f32; 2] = [0.25, 0.001];
const SIDE: usize = 640;

struct Output {
    shape: Vec<i64>,
    data: Vec<f32>,
}

impl Output {
    fn random(shape: &[usize], mut value: impl FnMut() -> f32) -> Self {
        let data = (0..shape.iter().product()).map(|_| value()).collect();
        Self { shape: shape.iter().map(|&size| size as i64).collect(), data }
    }

    fn view(&self) -> OutputView<'_> {
        OutputView { shape: &self.shape, data: &self.data }
    }
}

/// Logits of which few are high.
fn logit(random: &mut StdRng) -> f32 {
    match random.random_range(0..1_000_000) {
        0..100 => random.random_range(-1.0..3.0),
        100..4000 => random.random_range(-6.9..-1.2),
        _ => random.random_range(-14.0..-8.0),
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

fn heads() -> [(&'static str, Head, Vec<Output>); 3] {
    let mut random = StdRng::seed_from_u64(1);
    let strides = vec![8_u32, 16, 32];
    let grid = |stride: u32| SIDE / stride as usize;
    let cells: usize = strides.iter().map(|&stride| grid(stride).pow(2)).sum();
    let head = |kind| Head { kind, strides: strides.clone(), classes: CLASSES };

    let mut cut = Vec::new();
    for &stride in &strides {
        let side = grid(stride);
        cut.push(Output::random(&[1, 64, side, side], || random.random_range(-4.0..4.0)));
        cut.push(Output::random(&[1, CLASSES, side, side], || logit(&mut random)));
    }
    let mut plain = Output::random(&[1, 4 + CLASSES, cells], || sigmoid(logit(&mut random)));
    plain.data[..4 * cells].iter_mut().for_each(|v| *v = random.random_range(20.0..600.0));
    // Objectness is high where a class is, so the product passes about as often.
    let mut grid = Output::random(&[1, cells, 5 + CLASSES], || sigmoid(logit(&mut random)));
    for row in grid.data.chunks_exact_mut(5 + CLASSES) {
        row[..4].iter_mut().for_each(|v| *v = random.random_range(-1.0..2.0));
        row[4] = row[5..].iter().copied().fold(0.0, f32::max).sqrt();
    }
    [
        ("yolov8-cut", head(HeadKind::YOLOV8_CUT), cut),
        ("yolov8", head(HeadKind::YOLOV8), vec![plain]),
        ("yolox", head(HeadKind::YOLOX), vec![grid]),
    ]
}

fn decode_boxes(criterion: &mut Criterion) {
    for (name, head, outputs) in heads() {
        let views: Vec<OutputView<'_>> = outputs.iter().map(Output::view).collect();
        for confidence in CONFIDENCES {
            let request = DecodeRequest {
                batch_index: 0,
                input_width: SIDE,
                input_height: SIDE,
                threshold: ConfidenceThreshold::new(confidence).expect("within 0 to 1"),
            };
            let mut candidates: Vec<Candidate> = Vec::new();
            head.decode_boxes(&views, &request, &mut candidates).expect("the head's own shapes");
            let count = candidates.len();
            let id = format!("decode_boxes/{name}/conf {confidence} ({count} candidates)");
            criterion.bench_function(&id, |bencher| {
                bencher.iter(|| {
                    candidates.clear();
                    head.decode_boxes(black_box(&views), &request, &mut candidates)
                });
            });
            let suppression = Suppression::from(&DetectionSettings::default());
            let id = format!("non_maximum_suppression/{name}/{count} candidates");
            criterion.bench_function(&id, |bencher| {
                bencher.iter(|| non_maximum_suppression(black_box(&candidates), suppression));
            });
        }
    }
}

criterion_group!(benches, decode_boxes);
criterion_main!(benches);
