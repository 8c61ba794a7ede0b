//! `spotter model`: installs, lists and checks models.

use std::fs;

use detector::onnx::{
    OnnxModel,
    proto::{NodeProto, StringStringEntryProto, TensorProto},
};
use testkit::{require, workspace_root};

use crate::harness::{Ended, spotter};

#[test]
fn a_model_is_installed_listed_checked_and_not_installed_twice() {
    let models = tempfile::tempdir().unwrap();
    let weights = require(workspace_root().join(".cache/weights/yolov8n.onnx"));
    let add = || {
        let add = spotter(["model", "add", "--name", "mine", "--license", "AGPL-3.0"]);
        add.arg("--models-dir").arg(models.path()).arg(&weights)
    };
    let added = Ended::of(add());
    assert_eq!(added.code, Some(0), "{added:?}");
    assert!(added.stdout[0].contains("yolov8-cut"), "{added:?}");

    let list = Ended::of(spotter(["model", "list", "--models-dir"]).arg(models.path()));
    assert!(list.stdout[0].starts_with("mine ") && list.stdout[0].contains("AGPL-3.0"), "{list:?}");

    let again = Ended::of(add());
    assert_eq!(again.code, Some(64), "{again:?}");
    assert_eq!(Ended::of(add().arg("--replace")).code, Some(0));

    let verify = || Ended::of(spotter(["model", "verify", "--models-dir"]).arg(models.path()));
    assert_eq!(verify().code, Some(0));
    let file = models.path().join("mine/model.onnx");
    let mut bytes = fs::read(&file).unwrap();
    bytes[1000] ^= 1;
    fs::write(&file, bytes).unwrap();
    let broken = verify();
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert!(broken.stderr.join("\n").contains("sha256"), "{broken:?}");
}

#[test]
fn an_unknown_file_is_rejected_with_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let strange = folder.path().join("strange.onnx");
    for content in ["", "not a model at all", "\u{8}\u{1}"] {
        fs::write(&strange, content).unwrap();
        let add = spotter(["model", "add", "--models-dir"]).arg(folder.path()).arg(&strange);
        let ended = Ended::of(add);
        assert_eq!(ended.code, Some(64), "{content:?}: {ended:?}");
        assert!(ended.stderr.join("\n").contains("strange.onnx"), "{ended:?}");
        assert!(!folder.path().join("strange").exists(), "nothing is left behind");
    }
    let absent = Ended::of(spotter(["model", "add", "absent.onnx"]));
    assert_eq!(absent.code, Some(64), "{absent:?}");
}

/// The default model with its size in the shape of an inner tensor, as in YOLO11 exports without `dynamic=True`.
fn of_one_size() -> OnnxModel {
    let weights = require(workspace_root().join(".cache/weights/yolov8n.onnx"));
    let mut model = OnnxModel::parse(fs::read(weights).unwrap()).unwrap();
    let graph = model.proto.graph.as_mut().unwrap();
    for node in &mut graph.node {
        node.input.iter_mut().filter(|input| *input == "images").for_each(|input| {
            "reshaped".clone_into(input);
        });
    }
    let shape: Vec<u8> = [1_i64, 3, 640, 640].iter().flat_map(|side| side.to_le_bytes()).collect();
    graph.initializer.push(TensorProto {
        name: Some("shape".to_owned()),
        dims: vec![4],
        data_type: Some(7),
        raw_data: Some(shape.into()),
        ..TensorProto::default()
    });
    let reshape = NodeProto {
        op_type: Some("Reshape".to_owned()),
        name: Some("attention".to_owned()),
        input: vec!["images".to_owned(), "shape".to_owned()],
        output: vec!["reshaped".to_owned()],
        ..NodeProto::default()
    };
    graph.node.insert(0, reshape);
    model
}

#[test]
fn an_optional_trial_that_fails_shows_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("one-size.onnx");
    fs::write(&file, of_one_size().to_bytes()).unwrap();
    let models = folder.path().join("models");
    let add = || spotter(["model", "add", "--models-dir"]).arg(&models).arg(&file);
    let added = Ended::of(add());
    assert_eq!(added.code, Some(0), "{added:?}");
    let output = added.stderr.join("\n");
    assert!(
        output.contains("input size fixed") && output.contains("Reshape 'attention'"),
        "{output}"
    );
    for sign in ["onnxruntime", "\u{1b}[", "[E:", "Non-zero status"] {
        assert!(!output.contains(sign), "{sign} in {output}");
    }

    // A failure is reported, and once.
    let mut broken = of_one_size();
    for node in &mut broken.proto.graph.as_mut().unwrap().node {
        if node.name() == "attention" {
            node.op_type = Some("NoSuchOperator".to_owned());
        }
    }
    fs::write(&file, broken.to_bytes()).unwrap();
    let refused = Ended::of(add().arg("--replace"));
    assert_eq!(refused.code, Some(64), "{refused:?}");
    let output = refused.stderr.join("\n");
    assert_eq!(output.matches("No Op registered").count(), 1, "{output}");
    assert!(!output.contains("\u{1b}["), "{output}");
}

#[test]
fn assumptions_and_missing_values_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made.onnx");
    let models = folder.path().join("models");
    let add = |names: Option<&str>| {
        let mut model = of_one_size();
        model.proto.metadata_props.retain(|entry| entry.key() != "names");
        model.proto.metadata_props.extend(names.map(|names| StringStringEntryProto {
            key: Some("names".to_owned()),
            value: Some(names.to_owned()),
        }));
        fs::write(&file, model.to_bytes()).unwrap();
        Ended::of(spotter(["model", "add", "--replace", "--models-dir"]).arg(&models).arg(&file))
    };
    let assumed = add(None);
    assert_eq!(assumed.code, Some(0), "{assumed:?}");
    assert!(assumed.stderr.join("\n").contains("taken for COCO's"), "{assumed:?}");
    let gaps = add(Some(r#"{"0": "person", "79": "brush"}"#));
    assert_eq!(gaps.code, Some(0), "{gaps:?}");
    assert!(gaps.stderr.join("\n").contains("78 classes have no name"), "{gaps:?}");
    let unreadable = add(Some("0: person"));
    assert_eq!(unreadable.code, Some(64), "{unreadable:?}");
    let output = unreadable.stderr.join("\n");
    assert!(output.contains("\"0: person\"") && output.contains("--labels"), "{output}");
}

#[test]
fn settings_of_a_comparison_need_pictures() {
    let options =
        [["--conf", "0.25"], ["--iou", "0.5"], ["--max-detections", "9"], ["--tiles", "2x2"]];
    let compare = || spotter(["model", "compare", "yolov8n", "yolo11n"]);
    for option in options {
        let ended = Ended::of(compare().args(option));
        assert_eq!((ended.code, ended.stdout.len()), (Some(64), 0), "{ended:?}");
        let said = ended.stderr.join("\n");
        assert!(said.contains(&format!("{} without pictures", option[0])), "{said}");
        assert!(said.contains("each task's own settings"), "{said}");
    }
    let help = Ended::of(compare().arg("--help")).stdout.join(" ");
    let words: Vec<_> = help.split_whitespace().collect();
    assert!(words.join(" ").contains("--tiles need pictures"), "{help}");
}

#[test]
fn the_help_has_first_steps() {
    let help = Ended::of(spotter(["--help"]));
    assert_eq!(help.code, Some(0));
    let text = help.stdout.join("\n");
    for command in ["up", "detect", "submit", "model"] {
        assert!(text.contains(&format!("\n  {command} ")), "{command} in {text}");
    }
    assert_eq!(Ended::of(spotter(["nosuch"])).code, Some(64));
}
