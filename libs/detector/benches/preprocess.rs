//! Preprocessing on one core: decoding, letterboxing and stretching bus.jpg (810 × 1080), and larger pictures made of it.

use std::hint::black_box;
use std::path::Path;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use detector::decode::{Picture, ReducedPicture, decode, decode_into, decode_reduced_into};
use detector::families::HeadKind;
use detector::preprocess::letterbox::{LetterboxSpec, TargetSize, letterbox, letterbox_reduced};
use detector::tensor::InputTensor;
use domain::picture::{PictureLimits, inspect};
use image::RgbImage;
use image::imageops::{FilterType, resize};
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

const ULTRALYTICS: LetterboxSpec = LetterboxSpec {
    target: TargetSize::Rect { long_side: 640, multiple_of: 32 },
    preprocessing: HeadKind::YOLOV8.preprocessing(),
};

/// As RT-DETR takes pictures.
const STRETCHED: LetterboxSpec = LetterboxSpec {
    target: TargetSize::Fixed { width: 640, height: 640 },
    preprocessing: HeadKind::RT_DETR.preprocessing(),
};

fn bus() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_images/bus.jpg");
    match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{}: {error}; run `make setup`", path.display()),
    }
}

/// As RF-DETR takes pictures.
const STRETCHED_AS_FLOATS: LetterboxSpec =
    LetterboxSpec { preprocessing: HeadKind::RF_DETR.preprocessing(), ..STRETCHED };

fn preprocess(criterion: &mut Criterion) {
    let bytes = bus();
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
    criterion.bench_function("stretch bus.jpg to 640x640, antialiased", |bencher| {
        bencher.iter(|| letterbox(black_box(&picture), &STRETCHED, &mut tensor));
    });
}

/// The resizes for models that take stretched pictures, without decoding.
fn stretch(criterion: &mut Criterion) {
    let Ok(bus) = decode(&bus(), &PictureLimits::default()) else {
        panic!("bus.jpg does not decode");
    };
    let mut tensor = InputTensor::default();
    for (width, height) in [(1280, 720), (3840, 2160)] {
        let picture = repeated(&bus, width, height);
        let mut group = criterion.benchmark_group(format!("stretch {width}x{height} to 640x640"));
        for (name, spec) in [("antialiased", STRETCHED), ("as floats", STRETCHED_AS_FLOATS)] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| letterbox(black_box(&picture), &spec, &mut tensor));
            });
        }
    }
}

/// `picture` side by side until it fills the size.
fn repeated(picture: &Picture, width: u32, height: u32) -> Picture {
    let at = |x: u32, y: u32| {
        let pixel = (y % picture.height()) * picture.width() + x % picture.width();
        picture.rgb().as_chunks::<3>().0[pixel as usize]
    };
    let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| at(x, y)));
    let Some(repeated) = Picture::from_rgb(width, height, pixels.collect()) else {
        panic!("three bytes a pixel");
    };
    repeated
}

/// Two kinds, both with colour at half the resolution: bus.jpg enlarged, which is very smooth, and bus.jpg repeated, which
/// has as much detail per pixel as a small picture.
fn twelve_megapixels(criterion: &mut Criterion) {
    const WIDTH: u32 = 3000;
    const HEIGHT: u32 = 4000;
    let Some(bus) = decode(&bus(), &PictureLimits::default())
        .ok()
        .and_then(|bus| RgbImage::from_raw(bus.width(), bus.height(), bus.rgb().to_vec()))
    else {
        panic!("bus.jpg does not decode");
    };
    let enlarged = resize(&bus, WIDTH, HEIGHT, FilterType::CatmullRom);
    let repeated =
        RgbImage::from_fn(WIDTH, HEIGHT, |x, y| *bus.get_pixel(x % bus.width(), y % bus.height()));
    for (kind, picture, progressive) in [
        ("enlarged", &enlarged, false),
        ("enlarged, progressive", &enlarged, true),
        ("repeated", &repeated, false),
        ("repeated, progressive", &repeated, true),
    ] {
        let file = match jpeg(picture, progressive) {
            Ok(file) => file,
            Err(error) => panic!("{error}"),
        };
        let name = format!("12 megapixels, {kind}, {} KB", file.len() / 1000);
        full_and_reduced(&mut criterion.benchmark_group(name), &file);
    }
}

fn full_and_reduced(group: &mut BenchmarkGroup<'_, WallTime>, file: &[u8]) {
    let limits = PictureLimits::default();
    let mut tensor = InputTensor::default();
    let mut full = Picture::default();
    group.sample_size(20);
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode_into(black_box(file), &limits, &mut full));
    });
    group.bench_function("letterbox", |bencher| {
        bencher.iter(|| letterbox(black_box(&full), &ULTRALYTICS, &mut tensor));
    });
    let mut reduced = ReducedPicture::default();
    let scale = |width, height| ULTRALYTICS.scale(width, height);
    group.bench_function("decode reduced", |bencher| {
        bencher.iter(|| decode_reduced_into(black_box(file), &limits, scale, &mut reduced));
    });
    group.bench_function("letterbox reduced", |bencher| {
        bencher.iter(|| letterbox_reduced(black_box(&reduced), &ULTRALYTICS, &mut tensor));
    });
}

fn jpeg(picture: &RgbImage, progressive: bool) -> turbojpeg::Result<Vec<u8>> {
    let mut compressor = Compressor::new()?;
    compressor.set_quality(90)?;
    compressor.set_subsamp(Subsamp::Sub2x2)?;
    compressor.set_progressive(progressive)?;
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let pixels = picture.as_raw().as_slice();
    compressor.compress_to_vec(Image {
        pixels,
        width,
        pitch: 3 * width,
        height,
        format: PixelFormat::RGB,
    })
}

criterion_group!(benches, preprocess, stretch, twelve_megapixels);
criterion_main!(benches);
