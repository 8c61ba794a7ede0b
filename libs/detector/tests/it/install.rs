//! What is installed, and what is refused.

use std::fs;

use detector::{
    bundle::{ModelBundle, ModelInput},
    error::{ModelError, RuntimeError},
    head::HeadKind,
    install::{Existing, InstallNote, InstallOptions},
    onnx::{
        OnnxError, OnnxModel,
        proto::{
            GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto,
            TensorShapeProto, TypeProto, ValueInfoProto,
            tensor_proto::DataLocation,
            tensor_shape_proto::{Dimension, dimension::Value},
            type_proto::{Tensor, Value as TypeValue},
        },
    },
};
use domain::LabelMap;

use crate::support::{Models, beside, weights};

#[test]
fn a_cut_model_says_what_it_is() {
    let models = Models::new();
    let source = weights("yolov8n");
    let installed = models.install(&source);
    let manifest = installed.bundle.manifest();
    assert_eq!(manifest.head, HeadKind::Yolov8Cut);
    assert_eq!(manifest.strides, [8, 16, 32]);
    assert_eq!(manifest.input, ModelInput::Dynamic { long_side: 640, multiple_of: 32 });
    assert_eq!(manifest.labels.len(), 80);
    assert_eq!(manifest.producer, "pytorch 1.13.0");
    assert!(manifest.source_sha256.starts_with("505648ada344cd9f"));
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
    assert_eq!(manifest.head, HeadKind::Yolox);
    assert_eq!(manifest.input, ModelInput::Fixed { width: 416, height: 416 });
    assert_eq!(manifest.license, "Apache-2.0");
    assert_eq!(manifest.sha256, manifest.source_sha256);
    assert!(installed.notes.is_empty(), "{:?}", installed.notes);
}

#[test]
fn an_installed_model_is_replaced_only_when_asked() {
    let models = Models::new();
    let (first, second) = (weights("yolov8n"), weights("yolo11n"));
    let before = models.install(&first).bundle;
    let options = models.options("model");
    let error = ModelBundle::install(&second, &options, &models.runtime).unwrap_err();
    assert!(matches!(error, ModelError::AlreadyInstalled { .. }), "{error}");
    assert_eq!(ModelBundle::load(before.dir()).unwrap(), before);

    let options = InstallOptions { existing: Existing::Replace, ..options };
    let after = ModelBundle::install(&second, &options, &models.runtime).unwrap().bundle;
    assert_eq!(ModelBundle::load(before.dir()).unwrap(), after);
    assert_ne!(before, after);
    let entries: Vec<_> = fs::read_dir(models.dir.path()).unwrap().collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
}

#[test]
fn strange_files_are_refused_and_leave_nothing() {
    let real = fs::read(weights("yolov8n")).unwrap();
    let elsewhere = TensorProto {
        data_location: Some(DataLocation::External.into()),
        ..TensorProto::default()
    };
    let mut external = detector_like(&[1, 3, 640, 640], &[&[1, 84, 8400]]);
    external.graph.as_mut().unwrap().initializer.push(elsewhere);

    type Check = fn(&ModelError) -> bool;
    let not_onnx: Check =
        |e| matches!(e, ModelError::NotOnnx { source: OnnxError::NotOnnx(_), .. });
    let not_understood: Check = |e| matches!(e, ModelError::NotUnderstood { .. });
    let not_yet: Check = |e| matches!(e, ModelError::NotSupportedYet { .. });
    let bytes = |model| OnnxModel { proto: model }.to_bytes();
    let shaped = |input: &[i64], outputs: &[&[i64]]| bytes(detector_like(input, outputs));
    let picture = &[1, 3, 640, 640][..];
    let segmenter = with_metadata(detector_like(picture, &[&[1, 84, 8400]]), "task", "segment");
    let seven = shaped(picture, &[&[1, 7, 8400]]);

    let cases: [(&str, Vec<u8>, Check); 17] = [
        ("empty", Vec::new(), not_onnx),
        ("a text", b"This is no model at all.\n".to_vec(), not_onnx),
        ("a page", b"<!DOCTYPE html><html>404</html>".to_vec(), not_onnx),
        ("cut short", real[..real.len() / 2].to_vec(), not_onnx),
        ("weights elsewhere", bytes(external), |e| {
            matches!(e, ModelError::NotOnnx { source: OnnxError::ExternalData { .. }, .. })
        }),
        ("a classifier", shaped(picture, &[&[1, 1000]]), not_understood),
        ("a vector", shaped(&[1, 768], &[&[1, 84, 8400]]), not_understood),
        ("grey pictures", shaped(&[1, 1, 640, 640], &[&[1, 84, 8400]]), not_understood),
        ("YOLOv5", shaped(picture, &[&[1, 25200, 85]]), not_understood),
        ("another task", bytes(segmenter), not_understood),
        ("end to end", shaped(picture, &[&[1, 300, 6]]), not_yet),
        ("RT-DETR", shaped(picture, &[&[1, 300, 80], &[1, 300, 4]]), not_yet),
        ("D-FINE", shaped(picture, &[&[1, 300], &[1, 300, 4], &[1, 300]]), not_yet),
        ("no labels", seven.clone(), |e| matches!(e, ModelError::LabelsNeeded { classes: 3, .. })),
        ("too few labels", bytes(labelled("{0: 'a', 1: 'b'}")), |e| {
            matches!(e, ModelError::LabelCount { classes: 3, labels: 2, .. })
        }),
        ("damaged labels", bytes(labelled("{0: 'a', 1:")), |e| {
            matches!(e, ModelError::LabelsNeeded { classes: 3, .. })
        }),
        // The right shapes, but made by an operator that does not exist.
        ("no real graph", bytes(labelled("['a', 'b', 'c']")), |e| {
            matches!(e, ModelError::Runtime { source: RuntimeError::Failed(_), .. })
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
    assert!(error.to_string().contains("spotter model add"), "{error}");
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

/// A model of the right shapes whose only node is of a made-up kind.
fn detector_like(input: &[i64], outputs: &[&[i64]]) -> ModelProto {
    let output_names: Vec<String> = (0..outputs.len()).map(|i| format!("output{i}")).collect();
    let node = NodeProto {
        op_type: Some("MadeUp".to_owned()),
        input: vec!["images".to_owned()],
        output: output_names.clone(),
        ..NodeProto::default()
    };
    let outputs = output_names.iter().zip(outputs).map(|(name, shape)| info(name, shape));
    let graph = GraphProto {
        node: vec![node],
        input: vec![info("images", input)],
        output: outputs.collect(),
        ..GraphProto::default()
    };
    ModelProto { ir_version: Some(8), graph: Some(graph), ..ModelProto::default() }
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

fn info(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dimension = |&size| Dimension { value: Some(Value::DimValue(size)), denotation: None };
    let dim = shape.iter().map(dimension).collect();
    let tensor = Tensor { elem_type: Some(1), shape: Some(TensorShapeProto { dim }) };
    let r#type = TypeProto { value: Some(TypeValue::TensorType(tensor)), denotation: None };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(r#type),
        ..ValueInfoProto::default()
    }
}
