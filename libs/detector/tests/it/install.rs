//! Which files are installed, and which are rejected.

use std::fs;

use detector::{
    ModelBundle, ModelError, ModelInput, OnnxRuntimeError,
    families::HeadKind,
    model::error::NoLabels,
    model::install::{Existing, HeadChoice, InstallNote, InstallOptions},
    onnx::{
        OnnxError, OnnxModel,
        proto::{
            GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto,
            tensor_proto::DataLocation,
        },
    },
};
use domain::LabelMap;

use crate::{
    graphs::{TinyDetector, graph, info, make_dynamic, set_element_type, set_metadata},
    support::{Models, beside, read, weights},
};

#[test]
fn a_cut_model_says_what_it_is() {
    let models = Models::new();
    let source = weights("yolov8n");
    let installed = models.install(&source);
    let manifest = installed.bundle.manifest();
    assert_eq!(manifest.head, HeadKind::YOLOV8_CUT);
    assert_eq!(manifest.strides, [8, 16, 32]);
    assert_eq!(manifest.input, ModelInput::Dynamic { long_side: 640, multiple_of: 32 });
    assert_eq!(manifest.labels.len(), 80);
    assert_eq!(manifest.producer, "pytorch 1.13.0");
    assert!(manifest.source_sha256.to_string().starts_with("505648ada344cd9f"));
    installed.bundle.verify().unwrap();
    assert!(installed.notes.contains(&InstallNote::LicenseUnknown));
    for note in &installed.notes {
        eprintln!("{note}");
    }
    let listed = ModelBundle::list(models.dir.path()).unwrap();
    let names: Vec<_> = listed.into_iter().map(|model| model.bundle.unwrap()).collect();
    assert_eq!(names, [installed.bundle]);
}

#[test]
fn a_yolox_keeps_its_head_and_size() {
    let Some(source) = beside("models/yolox_nano.onnx") else { return };
    let models = Models::new();
    let options =
        InstallOptions { license: Some("Apache-2.0".to_owned()), ..models.options("yolox-nano") };
    let installed = ModelBundle::install(&source, &options, &models.runtime).unwrap();
    let manifest = installed.bundle.manifest();
    assert_eq!(manifest.head, HeadKind::YOLOX);
    assert_eq!(manifest.input, ModelInput::Fixed { width: 416, height: 416 });
    assert_eq!(manifest.license, "Apache-2.0");
    assert_eq!(manifest.sha256, manifest.source_sha256);
    // The file has no names; a note says that COCO's were used.
    assert_eq!(installed.notes, [InstallNote::LabelsAssumed]);
}

#[test]
fn an_installed_model_is_replaced_only_when_asked() {
    let models = Models::new();
    let (first, second) = (weights("yolov8n"), weights("yolo11n"));
    let before = models.install(&first).bundle;
    let options = models.options("model");
    let error = ModelBundle::install(&second, &options, &models.runtime).unwrap_err();
    assert!(matches!(error, ModelError::AlreadyInstalled { .. }), "{error}");
    assert_eq!(ModelBundle::load(before.model_path().parent().unwrap()).unwrap(), before);

    let options = InstallOptions { existing: Existing::Replace, ..options };
    let after = ModelBundle::install(&second, &options, &models.runtime).unwrap().bundle;
    assert_eq!(ModelBundle::load(before.model_path().parent().unwrap()).unwrap(), after);
    assert_ne!(before, after);
    let entries: Vec<_> = fs::read_dir(models.dir.path()).unwrap().collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
}

#[test]
fn other_files_are_rejected_and_nothing_is_left_behind() {
    let real = fs::read(weights("yolov8n")).unwrap();
    let bytes = |model| OnnxModel { proto: model }.to_bytes();
    let picture = &[1, 3, 640, 640][..];
    let shaped = |input: &[i64], outputs: &[&[i64]]| bytes(detector_like(input, outputs));
    let of_task = |task: &str, output: &[i64]| {
        bytes(with_metadata(detector_like(picture, &[output]), "task", task))
    };
    let with_entry = |key: &str, value: &str| {
        bytes(with_metadata(detector_like(picture, &[&[1, 84, 8400]]), key, value))
    };
    let elsewhere = TensorProto {
        data_location: Some(DataLocation::External.into()),
        ..TensorProto::default()
    };
    let mut external = detector_like(picture, &[&[1, 84, 8400]]);
    external.graph.as_mut().unwrap().initializer.push(elsewhere);
    let seven = shaped(picture, &[&[1, 7, 8400]]);

    type Check = fn(&ModelError) -> bool;
    let not_onnx: Check =
        |e| matches!(e, ModelError::NotOnnx { source: OnnxError::NotOnnx(_), .. });
    let not_understood: Check = |e| matches!(e, ModelError::NotADetector { .. });
    let not_yet: Check = |e| matches!(e, ModelError::NotSupportedYet { .. });
    let unreadable: Check =
        |e| matches!(e, ModelError::LabelsNeeded { why: NoLabels::Unreadable(_), .. });

    let cases: Vec<(&str, Vec<u8>, Check)> = vec![
        ("empty", Vec::new(), not_onnx),
        ("a text", b"This is no model at all.\n".to_vec(), not_onnx),
        ("a page", b"<!DOCTYPE html><html>404</html>".to_vec(), not_onnx),
        ("cut short", real[..real.len() / 2].to_vec(), not_onnx),
        ("weights elsewhere", bytes(external), |e| {
            matches!(e, ModelError::NotOnnx { source: OnnxError::BadExternalData { .. }, .. })
        }),
        ("a classifier", shaped(picture, &[&[1, 1000]]), not_understood),
        ("a vector", shaped(&[1, 768], &[&[1, 84, 8400]]), not_understood),
        ("grey pictures", shaped(&[1, 1, 640, 640], &[&[1, 84, 8400]]), not_understood),
        ("other cells", shaped(picture, &[&[1, 25000, 85]]), not_understood),
        (
            "raw levels",
            shaped(picture, &[&[1, 3, 80, 80, 85], &[1, 3, 40, 40, 85]]),
            not_understood,
        ),
        ("two pictures", shaped_inputs(&[picture, picture], &[1, 84, 8400]), not_understood),
        ("segments", of_task("segment", &[1, 116, 8400]), not_understood),
        ("poses", of_task("pose", &[1, 56, 8400]), not_understood),
        ("oriented boxes", of_task("obb", &[1, 20, 8400]), not_understood),
        ("classes", of_task("classify", &[1, 1000]), not_understood),
        ("segments, unsaid", shaped(picture, &[&[1, 116, 8400], &[1, 32, 160, 160]]), |e| {
            // Boxes are read, but no operator of the graph is real.
            matches!(e, ModelError::OnnxRuntime { .. })
        }),
        ("integers", bytes(of_integers(picture)), not_understood),
        ("half a batch of the world", shaped(&[1 << 40, 3, 640, 640], &[&[1, 84, 8400]]), |e| {
            e.to_string().contains("a batch of at most")
        }),
        ("end to end poses", of_task("pose", &[1, 300, 57]), not_understood),
        ("end to end oriented boxes", of_task("obb", &[1, 300, 7]), not_understood),
        ("queries without names", shaped(picture, &[&[1, 300, 80], &[1, 300, 4]]), not_yet),
        (
            "ranked queries without names",
            shaped(picture, &[&[1, 300], &[1, 300, 4], &[1, 300]]),
            not_yet,
        ),
        ("no labels", seven.clone(), |e| matches!(e, ModelError::LabelsNeeded { classes: 3, .. })),
        ("too few labels", bytes(labelled("{0: 'a', 1: 'b'}")), |e| {
            matches!(e, ModelError::LabelCount { classes: 3, labels: 2, .. })
        }),
        ("too many labels", bytes(labelled("{0: 'a', 3: 'd'}")), |e| {
            matches!(e, ModelError::LabelCount { classes: 3, labels: 4, .. })
        }),
        ("damaged labels", bytes(labelled("{0: 'a', 1:")), unreadable),
        ("labels of nothing", bytes(labelled("{}")), unreadable),
        ("80 damaged labels", with_entry("names", "{0: 'a', 1: b}"), unreadable),
        ("80 labels in a text", with_entry("names", "see coco.yaml"), unreadable),
        // The right shapes, but made by an operator that does not exist.
        ("no real graph", bytes(labelled("['a', 'b', 'c']")), |e| {
            matches!(e, ModelError::OnnxRuntime { source: OnnxRuntimeError::Failed(_), .. })
        }),
    ];
    for (what, bytes, is_expected) in cases {
        let models = Models::new();
        let source = models.dir.path().join("strange.onnx");
        fs::write(&source, bytes).unwrap();
        let options = InstallOptions {
            models_dir: models.dir.path().join("models"),
            ..models.options("strange")
        };
        let error = ModelBundle::install(&source, &options, &models.runtime).unwrap_err();
        eprintln!("{what}: {error}");
        assert!(is_expected(&error), "{what}: {error:?}");
        assert!(error.to_string().contains("strange.onnx"), "{what}: {error}");
        let left = fs::read_dir(&options.models_dir).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{what}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let models = Models::new();
    let source = models.dir.path().join("absent.onnx");
    let error = ModelBundle::install(&source, &models.options("a"), &models.runtime).unwrap_err();
    assert!(matches!(error, ModelError::NoSuchFile { .. }), "{error}");
    let error = ModelBundle::load(&models.dir.path().join("a")).unwrap_err();
    assert!(matches!(error, ModelError::NotInstalled { .. }), "{error}");
}

#[test]
fn given_labels_win_over_those_in_the_file() {
    let models = Models::new();
    let labels = LabelMap::new((0..80).map(|class| format!("thing {class}")).collect());
    let options = InstallOptions { labels: Some(labels.clone()), ..models.options("renamed") };
    let source = weights("yolov8n");
    let installed = ModelBundle::install(&source, &options, &models.runtime).unwrap();
    assert_eq!(installed.bundle.labels(), &labels);
}

#[test]
fn names_are_taken_from_the_file_however_it_has_them() {
    let models = Models::new();
    for (names, expected) in [
        (r#"{0: 'it\'s', 1: "b\"", 2: '\xe9'}"#, ["it's", "b\"", "é"]),
        (r#"{"0": "a", "1": "\ud83d\udc31", "2": "c"}"#, ["a", "🐱", "c"]),
        (r#"["a", "b", "c"]"#, ["a", "b", "c"]),
        ("{0: 'a', 2: 'c'}", ["a", "1", "c"]),
        ("{0: 'a', 1: None, 2: ''}", ["a", "1", "2"]),
        ("{1: 'b'}", ["0", "b", "2"]),
    ] {
        let mut model = TinyDetector::default().model();
        set_metadata(&mut model, "names", names);
        let installed = models.try_install(&model, HeadChoice::CutIfPossible).unwrap();
        let found: Vec<&str> = installed.bundle.labels().iter().collect();
        assert_eq!(found, expected, "{names}");
        let without = expected.iter().filter(|name| name.parse::<u32>().is_ok()).count();
        let is_said = installed.notes.contains(&InstallNote::ClassesWithoutName(without));
        assert_eq!(is_said, without > 0, "{:?}", installed.notes);
    }
}

#[test]
fn names_that_cannot_be_read_never_become_cocos() {
    let models = Models::new();
    let mut model = TinyDetector { classes: 80, ..TinyDetector::default() }.model();
    let cut = HeadChoice::CutIfPossible;
    // For a file without names, a note says that COCO's were used.
    let installed = models.try_install(&model, cut).unwrap();
    assert!(installed.notes.contains(&InstallNote::LabelsAssumed), "{:?}", installed.notes);
    assert_eq!(installed.bundle.labels(), &detector::model::labels::coco());
    // The same where only a run shows the number of classes.
    let mut silent = read("yolo11n");
    make_dynamic(&mut graph(&mut silent).output[0], &[None, Some("rows")]);
    for model in [&mut model, &mut silent] {
        for names in ["", "{0: person}", "person, bicycle", "{0: 'person'", "[]"] {
            set_metadata(model, "names", names);
            let error = models.try_install(model, cut).unwrap_err();
            let is_unreadable = matches!(
                error,
                ModelError::LabelsNeeded { classes: 80, why: NoLabels::Unreadable(_), .. }
            );
            assert!(is_unreadable, "{names}: {error}");
            let text = error.to_string();
            assert!(text.contains(&format!("{names:?}")), "{text}");
        }
    }
}

/// A model of the right shapes whose only node is of a made-up kind.
fn detector_like(input: &[i64], outputs: &[&[i64]]) -> ModelProto {
    let output_names: Vec<String> = (0..outputs.len()).map(|i| format!("output{i}")).collect();
    let node = NodeProto {
        op_type: Some("MadeUp".to_owned()),
        input: vec!["images".to_owned()],
        output: output_names.clone(),
        ..NodeProto::default()
    };
    let outputs = output_names.iter().zip(outputs).map(|(name, shape)| info(name, shape, 1));
    let graph = GraphProto {
        node: vec![node],
        input: vec![info("images", input, 1)],
        output: outputs.collect(),
        ..GraphProto::default()
    };
    ModelProto { ir_version: Some(8), graph: Some(graph), ..ModelProto::default() }
}

/// A model of the right output with several inputs.
fn shaped_inputs(inputs: &[&[i64]], output: &[i64]) -> Vec<u8> {
    let mut model = detector_like(inputs[0], &[output]);
    let graph = model.graph.as_mut().unwrap();
    graph.input = inputs
        .iter()
        .enumerate()
        .map(|(place, shape)| info(&format!("images{place}"), shape, 1))
        .collect();
    OnnxModel { proto: model }.to_bytes()
}

/// A detector whose outputs are no floats.
fn of_integers(picture: &[i64]) -> ModelProto {
    let mut model = detector_like(picture, &[&[1, 84, 8400]]);
    set_element_type(&mut model.graph.as_mut().unwrap().output[0], 7);
    model
}

/// A model of three classes with these `names`.
fn labelled(names: &str) -> ModelProto {
    with_metadata(detector_like(&[1, 3, 640, 640], &[&[1, 7, 8400]]), "names", names)
}

fn with_metadata(mut model: ModelProto, key: &str, value: &str) -> ModelProto {
    let (key, value) = (Some(key.to_owned()), Some(value.to_owned()));
    model.metadata_props.push(StringStringEntryProto { key, value });
    model
}
