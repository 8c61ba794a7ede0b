//! Every family with each version of the operators, with fixed batches, one class and inputs that are not square.

use detector::{
    BatchItem, Detections,
    families::{HEADS, HeadKind},
    model::install::{HeadChoice, InstallNote},
};
use domain::{ConfidenceThreshold, DetectionSettings};

use crate::{
    graphs::{TinyDetector, set_metadata},
    samples::{BOX, Export, SCORE, label, lowest_opset, usual_classes},
    support::{Loaded, Models, assert_same, bus_of, find},
};

/// The families whose exports are made of rows; the head of YOLOv8 is a [`TinyDetector`].
fn families() -> impl Iterator<Item = HeadKind> {
    let is_yolov8 = |head: &HeadKind| [HeadKind::YOLOV8, HeadKind::YOLOV8_CUT].contains(head);
    HEADS.iter().copied().filter(move |head| !is_yolov8(head))
}

/// Asserts that the object of an [`Export`] was found, and nothing else.
#[track_caller]
fn assert_object(what: &str, export: Export, found: &Detections) {
    let [object] = &found.objects[..] else { panic!("{what}: {found:#?}") };
    assert_eq!(object.label, label(export.classes - 1), "{what}");
    assert!((object.detection.confidence - SCORE).abs() < 1e-5, "{what}: {object:?}");
    let [width, height] = [export.width as f32, export.height as f32];
    let bbox = object.detection.bbox;
    let sides = [bbox.x1 / width, bbox.y1 / height, bbox.x2 / width, bbox.y2 / height];
    let off = sides.into_iter().zip(BOX).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 1e-5, "{what}: {bbox:?}");
}

/// Installs an export of `head`, runs it on a picture of its size, and asserts that its object is found.
#[track_caller]
fn check(models: &Models, head: HeadKind, export: Export) -> (Vec<InstallNote>, Loaded) {
    let what = format!("{head:?}, {export:?}");
    let installed = models
        .try_install(&export.of(head), HeadChoice::CutIfPossible)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(installed.bundle.manifest().head, head, "{what}");
    let mut model = models.load(&installed.bundle);
    let found = model.detect(&bus_of(export.width as u32, export.height as u32), &settings());
    assert_object(&what, export, &found);
    (installed.notes, model)
}

fn settings() -> DetectionSettings {
    let confidence = ConfidenceThreshold::new(0.3).unwrap();
    DetectionSettings { confidence, ..DetectionSettings::default() }
}

#[test]
fn every_family_runs_with_old_and_new_versions_of_the_operators() {
    let models = Models::new();
    for head in families() {
        for opset in [lowest_opset(head), 17, 22] {
            let classes = usual_classes(head);
            check(&models, head, Export { opset, classes, ..Export::default() });
        }
    }
}

#[test]
fn every_family_may_have_one_class_and_any_sides() {
    let models = Models::new();
    for head in families() {
        for (classes, width, height) in [(1, 128, 64), (1, 64, 192), (2, 192, 128), (7, 128, 128)] {
            if classes == 1 || usual_classes(head) > 1 {
                check(&models, head, Export { classes, width, height, ..Export::default() });
            }
        }
    }
}

#[test]
fn every_family_takes_any_number_of_pictures_though_exported_for_four() {
    let models = Models::new();
    for head in families() {
        let export = Export { batch: 4, classes: usual_classes(head), ..Export::default() };
        let (notes, mut model) = check(&models, head, export);
        assert!(notes.contains(&InstallNote::BatchMadeDynamic(4)), "{head:?}: {notes:?}");
        assert!(model.detector.takes_batches().unwrap(), "{head:?}");
        let bus = bus_of(export.width as u32, export.height as u32);
        let prepared = [(), ()].map(|()| model.preprocessor.preprocess(&bus).unwrap());
        let settings = settings();
        let mut items = [0, 1].map(|owner| BatchItem {
            prepared: &prepared[owner],
            settings: &settings,
            owner,
        });
        let canceller = models.runtime.canceller().unwrap();
        let found = model.detector.detect_batch(&mut items, &canceller).unwrap();
        assert_eq!(found.len(), 2, "{head:?}");
        for (_, found) in &found {
            assert_object(&format!("{head:?} of two"), export, found);
        }
    }
}

#[test]
fn the_head_of_yolov8_is_cut_whatever_the_version_of_the_operators() {
    let models = Models::new();
    let picture = bus_of(192, 128);
    for classes in [1, 3] {
        let of_opset = |opset| {
            let mut model = TinyDetector { opset, classes, ..TinyDetector::default() }.model();
            let names: Vec<String> = (0..classes).map(|class| format!("'thing {class}'")).collect();
            set_metadata(&mut model, "names", &format!("[{}]", names.join(", ")));
            model
        };
        let expected = find(&models, &of_opset(17), HeadChoice::KeepPlain, &picture, 0.2);
        assert!(expected.objects.len() >= 3, "{expected:#?}");
        for opset in [11, 12, 13, 17, 22] {
            for (choice, head) in [
                (HeadChoice::CutIfPossible, HeadKind::YOLOV8_CUT),
                (HeadChoice::KeepPlain, HeadKind::YOLOV8),
            ] {
                let installed = models.try_install(&of_opset(opset), choice).unwrap();
                assert_eq!(installed.bundle.manifest().head, head, "opset {opset}");
                let found = models.load(&installed.bundle).detect(
                    &picture,
                    &DetectionSettings {
                        confidence: ConfidenceThreshold::new(0.2).unwrap(),
                        ..DetectionSettings::default()
                    },
                );
                assert_same(&found, &expected, 1e-2, 1e-3);
            }
        }
    }
}
