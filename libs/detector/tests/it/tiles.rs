//! Pictures in tiles: each tile is scaled by itself, and small objects are found, each once.

use detector::{
    Detections, InputBox, ModelBundle, PreprocessedPicture, decode::Picture,
    model::install::InstallOptions, preprocess::letterbox::Resampling,
};
use domain::{DetectedObject, DetectionSettings, Tiling};
use image::{RgbImage, imageops};

use crate::support::{Loaded, Models, picture, weights};

fn tiling(tiles: &str) -> Tiling {
    Tiling { tiles: tiles.parse().unwrap(), overlap: 0.2.try_into().unwrap() }
}

fn png(picture: &RgbImage) -> Vec<u8> {
    let (width, height) = picture.dimensions();
    let picture = Picture::from_rgb(width, height, picture.as_raw().clone()).unwrap();
    detector::annotate::encode(&picture, domain::picture::PictureFormat::Png).unwrap()
}

fn bus() -> RgbImage {
    image::load_from_memory(&picture("bus.jpg")).unwrap().into_rgb8()
}

fn in_tiles(model: &mut Loaded, bytes: &[u8], tiling: &Tiling) -> Detections {
    let settings = DetectionSettings::default();
    let tiled = model.preprocessor.decode_tiled(bytes, tiling).unwrap();
    let parts = (0..tiled.parts()).map(|place| tiled.part(place).unwrap());
    let parts = parts.map(|part| model.detector.detect(&part, &settings).unwrap()).collect();
    tiled.merge(parts, &settings).unwrap()
}

/// Values that differ, without `edge` rows and columns at each edge of the scaled picture.
fn differing(tile: &PreprocessedPicture, crop: &PreprocessedPicture, edge: usize) -> usize {
    assert_eq!(tile.letterbox, crop.letterbox);
    let (width, height) = (tile.tensor.width, tile.tensor.height);
    assert_eq!((width, height), (crop.tensor.width, crop.tensor.height));
    let is_inner = |at: usize| {
        let (x, y) = (at % width, at / width % height);
        (edge..width - edge).contains(&x) && (edge..height - edge).contains(&y)
    };
    let values = tile.tensor.data.iter().zip(&crop.tensor.data).enumerate();
    values.filter(|(at, (tile, crop))| tile != crop && is_inner(*at)).count()
}

#[test]
fn a_tile_is_scaled_as_its_crop_but_for_its_edges() {
    let models = Models::new();
    // At its edges, a tile is scaled with the pixels beyond it; but not as floats.
    for (name, resampling, edge) in [
        ("bilinear", Resampling::Bilinear, 2),
        ("antialiased", Resampling::Antialiased, 2),
        ("bilinear-float", Resampling::BilinearFloat, 0),
    ] {
        let options = InstallOptions { resampling: Some(resampling), ..models.options(name) };
        let installed = ModelBundle::install(&weights("yolov8n"), &options, &models.runtime);
        let preprocessor = models.load(&installed.unwrap().bundle).preprocessor;
        // Tiles of 640 × 640 are not scaled; of 1280 × 1280, they are halved; the others are between and beyond.
        for side in [500, 640, 1000, 1280, 1600] {
            let canvas = RgbImage::from_fn(2 * side, side, |x, y| {
                let hash = x.wrapping_mul(31).wrapping_add(y.wrapping_mul(57)) ^ (x * y);
                image::Rgb([hash as u8, (hash >> 3) as u8, (x + y) as u8])
            });
            let tiling = Tiling { overlap: 0.0.try_into().unwrap(), ..tiling("2x1") };
            let tiled = preprocessor.decode_tiled(&png(&canvas), &tiling).unwrap();
            assert_eq!(tiled.parts(), 3);
            for (place, x) in [(1, 0), (2, side)] {
                let crop = imageops::crop_imm(&canvas, x, 0, side, side).to_image();
                let crop = preprocessor.preprocess(&png(&crop)).unwrap();
                let part = tiled.part(place).unwrap();
                assert_eq!((part.width, part.height), (side, side));
                // Halving is computed in another way, with other roundings.
                if name == "bilinear" && side == 1280 {
                    continue;
                }
                assert_eq!(differing(&part, &crop, edge), 0, "{name}, side {side}, tile {place}");
            }
            assert!(tiled.part(3).is_none());
        }
    }
}

#[test]
fn the_whole_is_what_it_is_without_tiles() {
    let models = Models::new();
    let mut model = models.load(&models.install(&weights("yolov8n")).bundle);
    let bytes = picture("bus.jpg");
    let without = model.detect(&bytes, &DetectionSettings::default());
    // Of 810 × 1080 pixels, one tile is enough to 800 × 800 only.
    assert_eq!(in_tiles(&mut model, &bytes, &tiling("1x1")).objects, without.objects);
    let tiled = model.preprocessor.decode_tiled(&bytes, &tiling("2x2")).unwrap();
    let whole = model.preprocessor.preprocess(&bytes).unwrap();
    assert_eq!(tiled.part(0).unwrap().tensor.data, whole.tensor.data);
}

fn overlap(a: &DetectedObject, b: &DetectedObject) -> f32 {
    let [a, b] = [a, b].map(|object| {
        let domain::BoundingBox { x1, y1, x2, y2 } = object.detection.bbox;
        InputBox { x1, y1, x2, y2 }
    });
    a.iou(&b)
}

#[test]
fn small_objects_are_found_in_tiles_and_each_once() {
    let models = Models::new();
    let mut model = models.load(&models.install(&weights("yolov8n")).bundle);
    // Thirty-two buses of a seventh of their size.
    let small = imageops::resize(&bus(), 120, 160, imageops::FilterType::CatmullRom);
    let mut canvas = RgbImage::from_pixel(8 * 240, 4 * 300, image::Rgb([114; 3]));
    for (column, row) in (0..4).flat_map(|row| (0..8).map(move |column| (column, row))) {
        imageops::replace(&mut canvas, &small, column * 240 + 60, row * 300 + 70);
    }
    let bytes = png(&canvas);
    let without = model.detect(&bytes, &DetectionSettings::default());
    let found = in_tiles(&mut model, &bytes, &tiling("auto"));
    assert_eq!((found.width, found.height), (1920, 1200));
    let buses = |found: &Detections| {
        found.objects.iter().filter(|object| object.label == "bus").cloned().collect::<Vec<_>>()
    };
    let (without, with) = (buses(&without), buses(&found));
    eprintln!("buses without tiles: {}, with: {}", without.len(), with.len());
    let people = found.objects.iter().filter(|object| object.label == "person").count();
    eprintln!("people: {people}");
    assert!((30..=32).contains(&with.len()), "{}", with.len());
    assert!(without.len() < 5, "the picture is too easy");
    assert!((64..=4 * 32).contains(&people), "{people}");
    for (place, object) in found.objects.iter().enumerate() {
        let twice = found.objects[..place]
            .iter()
            .find(|other| other.label == object.label && overlap(other, object) > 0.5);
        assert!(twice.is_none(), "{object:?} and {twice:?}");
    }
}
