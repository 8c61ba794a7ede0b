//! Exports of families that are recognised by shapes and values: small graphs that give the same outputs for each picture.

use detector::{
    Detections, ModelError, ModelInput,
    families::HeadKind,
    model::install::{HeadChoice, InstallNote},
    onnx::OnnxModel,
};
use domain::{ConfidenceThreshold, DetectionSettings};

use crate::{
    graphs::{
        Builder, FLOAT16, TinyDetector, constant, constant_beside, graph, info, integer,
        make_dynamic, set_element_type, set_metadata,
    },
    samples::deformable_attention,
    support::{Models, picture},
};

/// Installs `model` and detects in zidane.jpg, which has 1280 × 720 pixels.
#[track_caller]
fn found_by(model: &OnnxModel, head: HeadKind) -> Detections {
    let models = Models::new();
    let installed = models.try_install(model, HeadChoice::CutIfPossible).unwrap();
    assert_eq!(installed.bundle.manifest().head, head);
    let settings =
        DetectionSettings { confidence: "0.3".parse().unwrap(), ..DetectionSettings::default() };
    models.load(&installed.bundle).detect(&picture("zidane.jpg"), &settings)
}

/// Asserts that one object was found, of the class `label`.
#[track_caller]
fn assert_one(found: &Detections, label: &str, confidence: f32, sides: [f32; 4]) {
    let [object] = &found.objects[..] else { panic!("{found:#?}") };
    assert_eq!(object.label, label);
    let bbox = object.detection.bbox;
    let off =
        [bbox.x1, bbox.y1, bbox.x2, bbox.y2].into_iter().zip(sides).map(|(a, b)| (a - b).abs());
    assert!(off.fold(0.0, f32::max) < 0.01, "{bbox:?}");
    assert!((object.detection.confidence - confidence).abs() < 1e-5, "{object:?}");
}

/// Rows of zeros but for some.
fn rows(count: usize, width: usize, set: &[(usize, &[f32])]) -> Vec<f32> {
    let mut values = vec![0.0; count * width];
    for (row, set) in set {
        values[row * width..][..set.len()].copy_from_slice(set);
    }
    values
}

fn named(mut model: OnnxModel, names: &str) -> OnnxModel {
    set_metadata(&mut model, "names", names);
    model
}

/// Inputs of 128 × 96 pixels: zidane.jpg is scaled by a tenth and has 12 rows of padding above.
const INPUT: [i64; 4] = [1, 3, 96, 128];
/// The cells of such an input.
const CELLS: usize = 12 * 16 + 6 * 8 + 3 * 4;

#[test]
fn yolov5_gives_three_decoded_boxes_for_each_cell() {
    let count = 3 * CELLS;
    // Two boxes of one object: the weaker one is dropped.
    let of_two = [64.0, 42.0, 32.0, 20.0, 0.9, 0.1, 0.8];
    let weaker = [64.0, 42.0, 32.0, 21.0, 0.8, 0.1, 0.8];
    let values = rows(count, 7, &[(100, &of_two), (500, &weaker)]);
    let model = constant(&INPUT, &[("output", &[1, count as i64, 7], values)]);
    let found = found_by(&named(model, "['cat', 'dog']"), HeadKind::YOLOV5);
    assert_one(&found, "dog", 0.72, [480.0, 200.0, 800.0, 400.0]);
    // A model with one class still has a score of it, which YOLOv7 does not train.
    let values = rows(count, 6, &[(100, &[64.0, 42.0, 32.0, 20.0, 0.9, 0.5])]);
    let model = constant(&INPUT, &[("output", &[1, count as i64, 6], values)]);
    let mut model = named(model, "['dog']");
    let found = found_by(&model, HeadKind::YOLOV7_ONE_CLASS);
    assert_one(&found, "dog", 0.9, [480.0, 200.0, 800.0, 400.0]);
    set_metadata(&mut model, "stride", "32");
    let found = found_by(&model, HeadKind::YOLOV5);
    assert_one(&found, "dog", 0.45, [480.0, 200.0, 800.0, 400.0]);
}

#[test]
fn a_run_tells_yolox_with_decoded_boxes_from_one_without() {
    // At the top left, without padding above.
    let decoded = [96.0, 42.0, 32.0, 20.0, 0.9, 0.1, 0.8];
    let values = rows(CELLS, 7, &[(100, &decoded)]);
    let model = constant(&INPUT, &[("output", &[1, CELLS as i64, 7], values)]);
    let found = found_by(&named(model, "['cat', 'dog']"), HeadKind::YOLOX_DECODED);
    assert_one(&found, "dog", 0.72, [800.0, 320.0, 1120.0, 520.0]);
    // Cell 100 is column 4 of row 6; a size of e⁰ cells.
    let raw = [0.5, 0.5, 0.0, 0.0, 0.9, 0.1, 0.8];
    let values = rows(CELLS, 7, &[(100, &raw)]);
    let model = constant(&INPUT, &[("output", &[1, CELLS as i64, 7], values)]);
    let found = found_by(&named(model, "['cat', 'dog']"), HeadKind::YOLOX);
    assert_one(&found, "dog", 0.72, [320.0, 480.0, 400.0, 560.0]);
}

#[test]
fn rows_that_non_maximum_suppression_has_left_are_taken_as_they_are() {
    let row = [0.0, 48.0, 32.0, 80.0, 52.0, 1.0, 0.75];
    let same_place = [0.0, 48.0, 32.0, 80.0, 52.0, 1.0, 0.25];
    let values = rows(2, 7, &[(0, &row), (1, &same_place)]);
    let mut model = constant(&INPUT, &[("output", &[2, 7], values)]);
    make_dynamic(&mut graph(&mut model).output[0], &[Some("boxes")]);
    let found = found_by(&named(model, "['cat', 'dog']"), HeadKind::NMS_ROWS);
    assert_one(&found, "dog", 0.75, [480.0, 200.0, 800.0, 400.0]);
}

#[test]
fn an_end_to_end_head_has_as_many_classes_as_the_file_has_names() {
    let values = rows(20, 6, &[(0, &[48.0, 32.0, 80.0, 52.0, 0.75, 2.0])]);
    let model = constant(&INPUT, &[("output0", &[1, 20, 6], values)]);
    let found = found_by(&named(model.clone(), "['cat', 'dog', 'cow']"), HeadKind::END_TO_END);
    assert_one(&found, "cow", 0.75, [480.0, 200.0, 800.0, 400.0]);
    // Without names, they are COCO's.
    assert_one(&found_by(&model, HeadKind::END_TO_END), "car", 0.75, [480.0, 200.0, 800.0, 400.0]);
    // With 16-bit floats at both ends.
    let mut halves = named(model, "['cat', 'dog', 'cow']");
    let graph = graph(&mut halves);
    graph.node[0].op_type = Some("Cast".to_owned());
    graph.node[0].attribute = vec![integer("to", FLOAT16.into())];
    for end in graph.input.iter_mut().chain(&mut graph.output) {
        set_element_type(end, FLOAT16);
    }
    assert_one(&found_by(&halves, HeadKind::END_TO_END), "cow", 0.75, [480.0, 200.0, 800.0, 400.0]);
}

#[test]
fn values_that_fit_no_family_are_refused() {
    let models = Models::new();
    let mut attention = Builder::default();
    deformable_attention(&mut attention);
    let plain = Builder::default();
    // The last value is no class; an overflow; boxes in another unit.
    for (beside, row, expected) in [
        (&plain, [48.0, 32.0, 80.0, 52.0, 0.75, 2.5], "the last is no class"),
        (&plain, [48.0, 32.0, 80.0, 52.0, f32::NAN, 2.0], "not numbers"),
        (&plain, [48.0, 32.0, 80.0, 52.0, 0.75, f32::NAN], "not numbers"),
        (&plain, [0.4, 0.3, 0.6, 0.5, 0.75, 2.0], "boxes in parts of the picture"),
        (&attention, [48.0, 32.0, 80.0, 52.0, 0.75, 2.0], "boxes outside 0 to 1"),
        (&attention, [0.5, 0.4, 0.2, 0.2, f32::NAN, 2.0], "not numbers"),
    ] {
        let values = rows(20, 6, &[(0, &row)]);
        let model = constant_beside(beside.clone(), &INPUT, &[("output0", &[1, 20, 6], values)]);
        let error = models.try_install(&model, HeadChoice::CutIfPossible).unwrap_err();
        assert!(matches!(error, ModelError::NotADetector { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn of_a_model_for_segments_the_boxes_are_served() {
    let models = Models::new();
    let tiny = TinyDetector { extras: 64, ..TinyDetector::default() };
    let mut segments = named(tiny.model(), "['a', 'b', 'c']");
    let mut boxes = segments.clone();
    let rows = 4 + tiny.classes;
    let cells: i64 = tiny.strides.iter().map(|s| (tiny.height / s) * (tiny.width / s)).sum();
    let all = graph(&mut boxes);
    all.node.iter_mut().find(|node| node.output[0] == "output0").unwrap().input.pop();
    all.output[0] = info("output0", &[1, rows, cells], 1);
    // The prototypes: as many channels as a box has coefficients.
    let prototypes = info("box8", &[1, 64, tiny.height / 8, tiny.width / 8], 1);
    graph(&mut segments).output.push(prototypes);
    set_metadata(&mut segments, "task", "segment");
    let settings = DetectionSettings {
        confidence: ConfidenceThreshold::new(0.2).unwrap(),
        ..DetectionSettings::default()
    };
    let expected = models.try_install(&boxes, HeadChoice::KeepPlain).unwrap();
    let expected = models.load(&expected.bundle).detect(&picture("zidane.jpg"), &settings);
    assert!(expected.objects.len() >= 3, "{expected:#?}");
    for head in [HeadChoice::KeepPlain, HeadChoice::CutIfPossible] {
        let installed = models.try_install(&segments, head).unwrap();
        assert!(installed.notes.contains(&InstallNote::MasksLeftOut), "{:?}", installed.notes);
        assert_eq!(installed.bundle.manifest().head, HeadKind::YOLOV8);
        assert_eq!(
            installed.bundle.manifest().input,
            ModelInput::Fixed { width: 192, height: 128 }
        );
        let found = models.load(&installed.bundle).detect(&picture("zidane.jpg"), &settings);
        assert_eq!(found.objects, expected.objects);
    }
    // Without prototypes it is no export for segments.
    graph(&mut segments).output.pop();
    let error = models.try_install(&segments, HeadChoice::KeepPlain).unwrap_err();
    assert!(error.to_string().contains("prototypes"), "{error}");
}
