//! Families of detectors, each against what its reference implementation finds.

use std::{
    fs,
    path::{Path, PathBuf},
};

use detector::{
    BatchItem, Detections, ModelBundle, ModelInput,
    families::HeadKind,
    model::install::{InstallNote, InstallOptions},
    preprocess::letterbox::{Placement, Resampling},
};
use domain::{ConfidenceThreshold, DetectedObject, DetectionSettings, LabelMap};

use crate::support::{Models, beside, detect, picture};

/// A detection of a reference: class, confidence, and left, top, right and bottom edge in pixels.
type Row = (u32, f32, [f32; 4]);

fn sides(object: &DetectedObject) -> [f32; 4] {
    let bbox = object.detection.bbox;
    [bbox.x1, bbox.y1, bbox.x2, bbox.y2]
}

/// Asserts that `found` are the `rows`, in their order.
#[track_caller]
fn assert_rows(what: &str, found: &Detections, rows: &[Row], pixels: f32, score: f32) {
    let (mut box_off, mut score_off) = (0.0_f32, 0.0_f32);
    assert_eq!(found.objects.len(), rows.len(), "{what}: {:#?}", found.objects);
    for (object, &(class, confidence, bbox)) in found.objects.iter().zip(rows) {
        assert_eq!(object.detection.class_id.0, class, "{what}: {object:?}");
        score_off = score_off.max((object.detection.confidence - confidence).abs());
        for (a, b) in sides(object).into_iter().zip(bbox) {
            box_off = box_off.max((a - b).abs());
        }
    }
    eprintln!(
        "{what}: {} rows, boxes within {box_off:.4} px, scores within {score_off:.5}",
        rows.len()
    );
    assert!(box_off <= pixels, "{what}: a side is {box_off} px off");
    assert!(score_off <= score, "{what}: a confidence is {score_off} off");
}

/// The rows of a picture in a file of reference detections.
fn rows_of(reference: &serde_json::Value, picture: &str) -> Vec<Row> {
    let number = |value: &serde_json::Value| value.as_f64().unwrap() as f32;
    let row = |row: &serde_json::Value| {
        let sides = ["x1", "y1", "x2", "y2"].map(|side| number(&row["box"][side]));
        (row["class"].as_u64().unwrap() as u32, number(&row["confidence"]), sides)
    };
    reference[picture].as_array().unwrap().iter().map(row).collect()
}

/// DEIMv2 femto by ONNX Runtime, on bus.jpg stretched by Pillow as in training.
const FEMTO_BUS: [Row; 7] = [
    (5, 0.87495, [23.812, 229.321, 803.974, 733.440]),
    (0, 0.86093, [46.303, 390.741, 237.181, 905.894]),
    (0, 0.82032, [667.768, 393.225, 809.946, 879.030]),
    (0, 0.80635, [220.872, 404.047, 351.067, 857.139]),
    (0, 0.41680, [0.267, 585.171, 64.015, 865.394]),
    (16, 0.28365, [0.267, 585.171, 64.015, 865.394]),
    (26, 0.26273, [95.085, 461.472, 199.623, 613.225]),
];

#[test]
fn deimv2_finds_what_the_reference_finds() {
    let Some(source) = beside("models/deimv2_hgnetv2_femto_coco.onnx") else { return };
    let Some(reference) = beside("reference/deimv2_femto.json") else { return };
    let reference = serde_json::from_slice(&fs::read(reference).unwrap()).unwrap();
    let models = Models::new();
    // These rows were computed on pictures that OpenCV had stretched.
    let options =
        InstallOptions { resampling: Some(Resampling::Bilinear), ..models.options("opencv") };
    let opencv = ModelBundle::install(&source, &options, &models.runtime).unwrap().bundle;
    let mut detector = models.load(&opencv);
    for name in ["bus.jpg", "zidane.jpg"] {
        let found = detect(&mut detector, name);
        assert_rows(name, &found, &rows_of(&reference, name), 0.5, 0.005);
    }

    let installed = models.install(&source);
    assert!(installed.notes.contains(&InstallNote::LabelsAssumed), "{:?}", installed.notes);
    let manifest = installed.bundle.manifest();
    assert_eq!(manifest.head, HeadKind::RT_DETR);
    assert_eq!(manifest.input, ModelInput::Fixed { width: 416, height: 416 });
    assert!(manifest.strides.is_empty());
    let preprocessing = manifest.preprocessing.unwrap();
    assert_eq!(preprocessing.placement, Placement::Stretch);
    assert_eq!(preprocessing.resampling, Resampling::Antialiased);
    assert_rows(
        "as in training",
        &detect(&mut models.load(&installed.bundle), "bus.jpg"),
        &FEMTO_BUS,
        0.5,
        0.005,
    );
}

#[test]
fn boxes_of_a_model_that_gives_each_object_once_drop_one_another_only_when_asked() {
    let Some(source) = beside("models/deimv2_hgnetv2_femto_coco.onnx") else { return };
    let models = Models::new();
    let mut detector = models.load(&models.install(&source).bundle);
    // The strictest threshold drops nothing: a person and a dog are in the same place.
    let strict = DetectionSettings { iou: "0.01".parse().unwrap(), ..DetectionSettings::default() };
    let found = detector.detect(&picture("bus.jpg"), &strict);
    assert_eq!(found.objects.len(), FEMTO_BUS.len());
    let agnostic = DetectionSettings { class_agnostic: true, ..DetectionSettings::default() };
    let found = detector.detect(&picture("bus.jpg"), &agnostic);
    assert_eq!(found.objects.len(), FEMTO_BUS.len() - 1, "{:#?}", found.objects);
    let few =
        DetectionSettings { max_detections: 2.try_into().unwrap(), ..DetectionSettings::default() };
    let found = detector.detect(&picture("bus.jpg"), &few).objects;
    assert_eq!(
        found.iter().map(|found| found.label.as_str()).collect::<Vec<_>>(),
        ["bus", "person"]
    );
}

#[test]
fn a_batch_of_stretched_pictures_gives_what_each_gives_alone() {
    let Some(source) = beside("models/deimv2_hgnetv2_femto_coco.onnx") else { return };
    let models = Models::new();
    let mut model = models.load(&models.install(&source).bundle);
    assert!(model.detector.takes_batches().unwrap());
    // Both have the size of the input, whatever their own.
    let pictures = ["bus.jpg", "zidane.jpg"];
    let prepared = pictures.map(|name| model.preprocessor.preprocess(&picture(name)).unwrap());
    let settings = DetectionSettings::default();
    let canceller = models.runtime.canceller().unwrap();
    let mut items =
        [0, 1].map(|owner| BatchItem { prepared: &prepared[owner], settings: &settings, owner });
    let together = model.detector.detect_batch(&mut items, &canceller).unwrap();
    let together: Vec<(usize, Detections)> =
        together.into_iter().map(|(owner, found)| (*owner, found)).collect();
    for (owner, found) in &together {
        let alone = model.detector.detect(&prepared[*owner], &settings).unwrap();
        let rows: Vec<Row> = alone
            .objects
            .iter()
            .map(|o| (o.detection.class_id.0, o.detection.confidence, sides(o)))
            .collect();
        assert_rows(pictures[*owner], found, &rows, 0.05, 1e-3);
    }
}

/// What a file of `tests/families` says: `scripts/compare-families --fixtures` writes it from what the families' own
/// packages find.
struct Expected {
    picture: String,
    confidence: f32,
    labels: Option<LabelMap>,
    rows: Vec<Row>,
}

impl Expected {
    fn read(name: &str) -> Self {
        let path = families().join(format!("{name}.json"));
        let all: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let number = |value: &serde_json::Value| value.as_f64().unwrap() as f32;
        let row = |row: &serde_json::Value| {
            let sides = [0, 1, 2, 3].map(|side| number(&row[2][side]));
            (row[0].as_u64().unwrap() as u32, number(&row[1]), sides)
        };
        Self {
            picture: all["picture"].as_str().unwrap().to_owned(),
            confidence: number(&all["confidence"]),
            labels: serde_json::from_value(all["labels"].clone()).unwrap(),
            rows: all["rows"].as_array().unwrap().iter().map(row).collect(),
        }
    }
}

fn families() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families")
}

/// Asserts that the export `name`, whose outputs are those for one picture, is recognised, and gives the boxes that its
/// family's own package makes of these outputs.
#[track_caller]
fn check(name: &str, head: HeadKind, preprocessing: &str) {
    let expected = Expected::read(name);
    let models = Models::new();
    let options = InstallOptions { labels: expected.labels.clone(), ..models.options(name) };
    let source = families().join(format!("{name}.onnx"));
    let bundle = ModelBundle::install(&source, &options, &models.runtime).unwrap().bundle;
    assert_eq!(bundle.manifest().head, head, "{name}");
    assert_eq!(bundle.manifest().preprocessing().to_string(), preprocessing, "{name}");
    assert_eq!(bundle.manifest().input, ModelInput::Fixed { width: 160, height: 160 }, "{name}");
    let settings = DetectionSettings {
        confidence: ConfidenceThreshold::new(expected.confidence).unwrap(),
        iou: "0.7".parse().unwrap(),
        ..DetectionSettings::default()
    };
    let found = models.load(&bundle).detect(&picture(&expected.picture), &settings);
    assert!(expected.rows.len() >= 10, "{name}: {} rows", expected.rows.len());
    assert_rows(name, &found, &expected.rows, 0.5, 0.003);
}

#[test]
fn each_family_gives_the_boxes_of_its_own_package() {
    for (name, head, preprocessing) in [
        ("d-fine", HeadKind::RT_DETR, "stretched, antialiased, RGB 0–1"),
        ("d-fine-transformers", HeadKind::RT_DETR_TRANSFORMERS, "stretched, antialiased, RGB 0–1"),
        (
            "rf-detr",
            HeadKind::RF_DETR,
            "stretched, resized as floats, RGB of mean [0.485, 0.456, 0.406] and deviation [0.229, 0.224, 0.225]",
        ),
        ("rt-detr-transformers", HeadKind::RT_DETR_TRANSFORMERS, "stretched, antialiased, RGB 0–1"),
        ("rt-detr-ultralytics", HeadKind::RT_DETR_ULTRALYTICS_RANKED, "stretched, RGB 0–1"),
        ("yolo11-nms", HeadKind::END_TO_END, "letterbox, RGB 0–1"),
        ("yolo26-end-to-end", HeadKind::END_TO_END, "letterbox, RGB 0–1"),
        ("yolov10-end-to-end", HeadKind::END_TO_END, "letterbox, RGB 0–1"),
        ("yolov5", HeadKind::YOLOV5, "letterbox, RGB 0–1"),
        ("yolov7", HeadKind::YOLOV5, "letterbox, RGB 0–1"),
        ("yolov7-one-class", HeadKind::YOLOV7_ONE_CLASS, "letterbox, RGB 0–1"),
        ("yolov7-end2end", HeadKind::NMS_ROWS, "letterbox, RGB 0–1"),
        ("yolov8", HeadKind::YOLOV8, "letterbox, RGB 0–1"),
        ("yolox", HeadKind::YOLOX, "letterbox at the top left, BGR 0–255"),
        ("yolox-decoded", HeadKind::YOLOX_DECODED, "letterbox at the top left, BGR 0–255"),
    ] {
        check(name, head, preprocessing);
    }
}
