//! Reading, writing and cutting ONNX files.

use std::{collections::HashMap, fs};

use detector::{
    ModelBundle,
    model::install::{HeadChoice, InstallNote, InstallOptions},
    onnx::{
        OnnxModel,
        at_size::at_size,
        cut::{CannotCut, find_head},
        proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto},
    },
};

use crate::support::{Models, beside, detect, weights};

#[test]
fn nothing_is_lost_between_reading_and_writing() {
    let mut files = vec![weights("yolov8n"), weights("yolo11n")];
    files.extend(beside("models/yolox_nano.onnx"));
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let written = OnnxModel::parse(bytes.clone()).unwrap().to_bytes();
        // Writers put fields in the order of their numbers, so even the bytes are the same.
        assert!(written == bytes, "{}", file.display());
    }
}

#[test]
fn the_head_is_found_without_any_name() {
    let models = Models::new();
    let mut model = OnnxModel::parse(fs::read(weights("yolov8n")).unwrap()).unwrap();
    let graph = model.proto.graph.as_mut().unwrap();
    let mut names = HashMap::new();
    let mut rename = |name: &mut String| {
        // An optional input that is not given has no name.
        if name.is_empty() {
            return;
        }
        let next = names.len();
        *name = names.entry(name.clone()).or_insert_with(|| format!("t{next}")).clone();
    };
    for node in &mut graph.node {
        node.name = None;
        node.input.iter_mut().chain(&mut node.output).for_each(&mut rename);
    }
    graph.initializer.iter_mut().for_each(|tensor| rename(tensor.name.as_mut().unwrap()));
    let ends = graph.input.iter_mut().chain(&mut graph.output);
    ends.for_each(|end| rename(end.name.as_mut().unwrap()));

    let source = models.dir.path().join("anonymous.onnx");
    fs::write(&source, model.to_bytes()).unwrap();
    let installed = models.install(&source);
    let is_cut = |note: &InstallNote| matches!(note, InstallNote::HeadCut { .. });
    assert!(installed.notes.iter().any(is_cut), "{:?}", installed.notes);
    assert_eq!(installed.bundle.manifest().strides, [8, 16, 32]);
}

#[test]
fn the_cut_leaves_nothing_behind() {
    let models = Models::new();
    let bundle = models.install(&weights("yolo11n")).bundle;
    let cut = OnnxModel::parse(fs::read(bundle.model_path()).unwrap()).unwrap();
    let input: Vec<String> = cut.inputs().iter().map(ToString::to_string).collect();
    assert_eq!(input, ["images [batch, 3, height, width]"]);
    let outputs: Vec<String> = cut.outputs().iter().map(|output| output.name.clone()).collect();
    let expected = ["boxes_8", "scores_8", "boxes_16", "scores_16", "boxes_32", "scores_32"];
    assert_eq!(outputs, expected);
    assert_eq!(cut.metadata("license"), Some("AGPL-3.0 License (https://ultralytics.com/license)"));

    let graph = cut.proto.graph.unwrap();
    assert!(graph.value_info.is_empty());
    let is_read = |name: &str| {
        let by_node = graph.node.iter().any(|node| node.input.iter().any(|input| input == name));
        by_node || outputs.iter().any(|output| output == name)
    };
    for node in &graph.node {
        assert!(node.output.iter().any(|output| is_read(output)), "{}", node.name());
    }
    for tensor in &graph.initializer {
        assert!(is_read(tensor.name()), "{}", tensor.name());
    }
}

/// A head in the shape of newer exports: boxes and classes are flattened and joined separately.
fn head_without_concats(classes: i64, bins: i64) -> OnnxModel {
    let mut graph = GraphBuilder::default();
    for level in 0..3 {
        graph.conv(&format!("box{level}"), "picture", [4 * bins, 8, 1, 1], |_| 0.5);
        graph.conv(&format!("class{level}"), "picture", [classes, 8, 1, 1], |_| 0.5);
        for what in ["box", "class"] {
            graph.node("Reshape", &[&format!("{what}{level}")], &format!("flat_{what}{level}"));
        }
    }
    graph.node("Concat", &["flat_box0", "flat_box1", "flat_box2"], "boxes");
    graph.node("Concat", &["flat_class0", "flat_class1", "flat_class2"], "classes");
    graph.node("Softmax", &["boxes"], "bins");
    graph.conv("distances", "bins", [1, bins, 1, 1], |place| place as f32);
    // Anchors come from the size of a level, which leads back into the neck.
    graph.conv("neck", "picture", [8, 3, 3, 3], |_| 0.5);
    graph.node("Shape", &["neck"], "size");
    graph.node("Add", &["distances", "size"], "moved");
    graph.node("Sigmoid", &["classes"], "scores");
    graph.node("Concat", &["moved", "scores"], "output0");
    graph.finish("output0")
}

#[derive(Default)]
struct GraphBuilder {
    graph: GraphProto,
}

impl GraphBuilder {
    fn node(&mut self, op_type: &str, inputs: &[&str], output: &str) {
        self.graph.node.push(NodeProto {
            op_type: Some(op_type.to_owned()),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        });
    }

    fn conv(&mut self, name: &str, input: &str, dims: [i64; 4], weight: impl Fn(i64) -> f32) {
        let weights = format!("{name}.weight");
        self.node("Conv", &[input, &weights], name);
        self.graph.initializer.push(TensorProto {
            name: Some(weights),
            data_type: Some(1),
            dims: dims.to_vec(),
            float_data: (0..dims.iter().product()).map(weight).collect(),
            ..TensorProto::default()
        });
    }

    fn finish(mut self, output: &str) -> OnnxModel {
        let info = ValueInfoProto { name: Some(output.to_owned()), ..ValueInfoProto::default() };
        self.graph.output.push(info);
        OnnxModel { proto: ModelProto { graph: Some(self.graph), ..ModelProto::default() } }
    }
}

#[test]
fn heads_of_other_exports_are_found() {
    // A single class: its convolution has one channel, like the one over the bins.
    for classes in [80, 1, 16] {
        let head = find_head(&head_without_concats(classes, 16), classes as usize).unwrap();
        assert_eq!(head.bins, 16);
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        assert_eq!(sorted(head.boxes), ["box0", "box1", "box2"]);
        assert_eq!(sorted(head.scores), ["class0", "class1", "class2"]);
    }
}

#[test]
fn an_ambiguous_head_is_not_cut() {
    let error = find_head(&head_without_concats(64, 16), 64).unwrap_err();
    assert_eq!(error, CannotCut::Ambiguous(64));
    let error = find_head(&head_without_concats(80, 16), 20).unwrap_err();
    assert!(matches!(error, CannotCut::UnexpectedConvolutions { .. }), "{error}");
    let error = find_head(&head_without_concats(80, 1), 80).unwrap_err();
    assert_eq!(error, CannotCut::NoDistanceBins);

    let mut computed = head_without_concats(80, 16);
    let graph = computed.proto.graph.as_mut().unwrap();
    graph.initializer.retain(|tensor| tensor.name() != "class1.weight");
    let error = find_head(&computed, 80).unwrap_err();
    assert!(matches!(error, CannotCut::UnknownWeights(_)), "{error}");

    // The same weights as the output of a `Constant` node are known again.
    let weights = TensorProto { dims: vec![80, 8, 1, 1], ..TensorProto::default() };
    computed.proto.graph.as_mut().unwrap().node.push(NodeProto {
        op_type: Some("Constant".to_owned()),
        output: vec!["class1.weight".to_owned()],
        attribute: vec![AttributeProto {
            name: Some("value".to_owned()),
            t: Some(weights),
            ..AttributeProto::default()
        }],
        ..NodeProto::default()
    });
    assert!(find_head(&computed, 80).is_ok());
}

#[test]
fn declared_bins_without_values_do_not_count() {
    for claimed in [i64::MAX, i64::MAX / 4 + 1, 17, 0, -1] {
        for values in [16, 0] {
            let mut model = head_without_concats(80, 16);
            let graph = model.proto.graph.as_mut().unwrap();
            let mut weights = graph.initializer.iter_mut();
            let ramp = weights.find(|t| t.name() == "distances.weight").unwrap();
            ramp.dims = vec![1, claimed, 1, 1];
            ramp.float_data.truncate(values);
            let error = find_head(&model, 80).unwrap_err();
            assert_eq!(error, CannotCut::NoDistanceBins, "{claimed} bins, {values} values");
        }
    }
}

#[test]
fn a_plain_export_at_another_size_finds_what_its_cut_graph_finds() {
    let models = Models::new();
    let plain = OnnxModel::parse(fs::read(weights("yolov8n")).unwrap()).unwrap();
    let cut = models.install(&weights("yolov8n")).bundle;
    // What bus.jpg is letterboxed to.
    let resized = at_size(&plain, 480, 640).unwrap();
    let source = models.dir.path().join("480x640.onnx");
    fs::write(&source, resized.to_bytes()).unwrap();
    let options = InstallOptions { head: HeadChoice::KeepPlain, ..models.options("resized") };
    let resized = ModelBundle::install(&source, &options, &models.runtime).unwrap().bundle;
    let [expected, found] =
        [cut, resized].map(|bundle| detect(&mut models.load(&bundle), "bus.jpg").objects);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.label, expected.label);
        let (found, expected) = (found.detection, expected.detection);
        assert!((found.bbox.x1 - expected.bbox.x1).abs() < 0.01, "{found:?} {expected:?}");
        assert!((found.confidence - expected.confidence).abs() < 1e-4, "{found:?} {expected:?}");
    }
    // YOLO11's anchors are computed, so there is no constant to replace.
    let free = OnnxModel::parse(fs::read(weights("yolo11n")).unwrap()).unwrap();
    assert!(at_size(&free, 480, 640).is_err());
}
