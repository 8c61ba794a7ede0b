//! What a picture costs before the model sees it, on one core: decoding and letterboxing bus.jpg (810 × 1080).

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use detector::decode::{Picture, decode_into};
use detector::letterbox::{
    ChannelOrder, InputTensor, LetterboxSpec, Placement, TargetSize, ValueRange, letterbox,
};
use domain::picture::{PictureLimits, inspect};

const ULTRALYTICS: LetterboxSpec = LetterboxSpec {
    target: TargetSize::Rect { long_side: 640, multiple_of: 32 },
    placement: Placement::Centre,
    channels: ChannelOrder::Rgb,
    range: ValueRange::Unit,
};

fn preprocess(criterion: &mut Criterion) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_images/bus.jpg");
    let Ok(bytes) = std::fs::read(&path) else {
        panic!("{} is missing: run `make setup`", path.display());
    };
    let limits = PictureLimits::default();
    criterion.bench_function("inspect bus.jpg", |bencher| {
        bencher.iter(|| inspect(black_box(&bytes), &limits));
    });
    let mut picture = Picture::default();
    criterion.bench_function("decode bus.jpg", |bencher| {
        bencher.iter(|| decode_into(black_box(&bytes), &limits, &mut picture));
    });
    let mut tensor = InputTensor::default();
    criterion.bench_function("letterbox bus.jpg to 480x640", |bencher| {
        bencher.iter(|| letterbox(black_box(&picture), &ULTRALYTICS, &mut tensor));
    });
}

criterion_group!(benches, preprocess);
criterion_main!(benches);
