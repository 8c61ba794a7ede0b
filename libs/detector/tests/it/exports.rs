//! The same network exported in other ways: with other shapes, levels, sizes, batches and floats.

use std::fs;

use detector::{
    ModelError, ModelInput,
    families::HeadKind,
    model::install::{HeadChoice, InstallNote},
    onnx::{
        OnnxModel,
        at_size::at_size,
        proto::{NodeProto, TensorProto},
    },
};

use crate::{
    graphs::{
        FLOAT16, TinyDetector, change_integers, constants, fix_dimensions, forget_shape, graph,
        info, make_dynamic, set_element_type, set_metadata,
    },
    support::{Models, assert_same, bus_of, find, picture, read, run},
};

const BOTH_HEADS: [HeadChoice; 2] = [HeadChoice::CutIfPossible, HeadChoice::KeepPlain];

#[test]
fn an_export_with_dynamic_shapes_is_recognised_by_a_run() {
    let models = Models::new();
    let default = read("yolo11n");
    // The shapes of `dynamic=True` without simplification, and with less information.
    let mut unsimplified = default.clone();
    let names = [Some("batch"), Some("Concatoutput0_dim_1"), Some("anchors")];
    make_dynamic(&mut graph(&mut unsimplified).output[0], &names);
    let mut silent = default.clone();
    forget_shape(&mut graph(&mut silent).output[0]);
    let mut all_free = unsimplified.clone();
    make_dynamic(&mut graph(&mut all_free).input[0], &[None, Some("channels")]);
    let bus = picture("bus.jpg");
    let (cut, plain) = (HeadChoice::CutIfPossible, HeadChoice::KeepPlain);
    let expected = find(&models, &default, cut, &bus, 0.25);
    assert!(expected.objects.len() >= 4, "{expected:#?}");
    for (model, head) in
        [(&unsimplified, cut), (&silent, cut), (&all_free, cut), (&unsimplified, plain)]
    {
        let found = find(&models, model, head, &bus, 0.25);
        assert_same(&found, &expected, 1e-2, 1e-3);
    }
}

/// YOLOv8n exported for `batch` pictures at a time.
fn for_batch(batch: i64) -> OnnxModel {
    let mut model = read("yolov8n");
    let graph = graph(&mut model);
    for end in graph.input.iter_mut().chain(&mut graph.output) {
        fix_dimensions(end, &[batch]);
    }
    // The shapes in which the head reshapes its tensors begin with the batch.
    constants(graph).for_each(|tensor| {
        change_integers(tensor, |values| {
            if values.len() >= 3 && values[0] == 1 {
                values[0] = batch;
            }
        });
    });
    graph.value_info.clear();
    model
}

#[test]
fn an_export_for_several_pictures_takes_any_number() {
    let models = Models::new();
    let bus = picture("bus.jpg");
    for head in BOTH_HEADS {
        let expected = find(&models, &read("yolov8n"), head, &bus, 0.25);
        let mut tried = run(&models, &for_batch(4), head, &bus, 0.25);
        assert_same(&tried.found, &expected, 1e-3, 1e-5);
        let notes = &tried.installed.notes;
        assert!(notes.contains(&InstallNote::BatchMadeDynamic(4)), "{notes:?}");
        assert!(tried.loaded.detector.takes_batches().unwrap());
    }
}

#[test]
fn a_batch_that_stays_fixed_is_padded() {
    let models = Models::new();
    let mut model = for_batch(4);
    let graph = graph(&mut model);
    // A computed shape, whose dependence on the batch the graph does not show.
    let name = "computed_shape";
    let reshape = graph.node.iter_mut().find(|node| node.op_type() == "Reshape").unwrap();
    let shape = std::mem::replace(&mut reshape.input[1], name.to_owned());
    let place = graph.node.iter().position(|node| node.input.contains(&name.to_owned())).unwrap();
    graph.node.insert(
        place,
        NodeProto {
            op_type: Some("Abs".to_owned()),
            input: vec![format!("{name}_source")],
            output: vec![name.to_owned()],
            ..NodeProto::default()
        },
    );
    let raw: Vec<u8> = [4_i64, 144, 6400].iter().flat_map(|value| value.to_le_bytes()).collect();
    graph.initializer.push(TensorProto {
        name: Some(format!("{name}_source")),
        dims: vec![3],
        data_type: Some(7),
        raw_data: Some(raw.into()),
        ..TensorProto::default()
    });
    assert!(!shape.is_empty());
    let plain = HeadChoice::KeepPlain;
    let bus = picture("bus.jpg");
    let expected = find(&models, &read("yolov8n"), plain, &bus, 0.25);
    for head in BOTH_HEADS {
        let mut tried = run(&models, &model, head, &bus, 0.25);
        let is_kept = |note: &InstallNote| matches!(note, InstallNote::BatchKept { batch: 4, .. });
        assert!(tried.installed.notes.iter().any(is_kept), "{:?}", tried.installed.notes);
        assert_eq!(tried.installed.bundle.manifest().head, HeadKind::YOLOV8);
        assert_same(&tried.found, &expected, 1e-3, 1e-5);
        assert!(!tried.loaded.detector.takes_batches().unwrap());
    }
}

#[test]
fn levels_of_other_strides_are_found() {
    let models = Models::new();
    let picture = bus_of(384, 256);
    for (strides, batch, classes) in [
        (vec![8, 16, 32], 1, 3),
        (vec![4, 8, 16, 32], 1, 3),
        (vec![8, 16, 32, 64], 1, 3),
        (vec![8, 16, 32, 64], 3, 1),
        (vec![8, 16, 32, 64, 128], 1, 2),
        (vec![16, 32], 1, 90),
        (vec![8, 32], 1, 3),
        (vec![32], 2, 3),
    ] {
        let tiny = TinyDetector {
            strides: strides.clone(),
            batch,
            classes,
            width: 384,
            height: 256,
            ..TinyDetector::default()
        };
        let mut model = tiny.model();
        let names: Vec<String> = (0..classes).map(|class| format!("'thing {class}'")).collect();
        set_metadata(&mut model, "names", &format!("[{}]", names.join(", ")));
        let plain = find(&models, &model, HeadChoice::KeepPlain, &picture, 0.2);
        let cut = run(&models, &model, HeadChoice::CutIfPossible, &picture, 0.2);
        assert!(plain.objects.len() >= 3, "{strides:?}: {plain:#?}");
        assert_same(&cut.found, &plain, 1e-2, 1e-3);
        let manifest = cut.installed.bundle.manifest();
        assert_eq!(manifest.head, HeadKind::YOLOV8_CUT, "{strides:?}");
        assert_eq!(manifest.strides.iter().map(|s| i64::from(*s)).collect::<Vec<_>>(), strides);
        let multiple_of = *manifest.strides.last().unwrap();
        assert_eq!(manifest.input, ModelInput::Dynamic { long_side: 384, multiple_of });
    }
}

#[test]
fn at_64_pixels_the_values_decide_between_cells_and_classes() {
    let models = Models::new();
    let real = at_size(&read("yolov8n"), 64, 64).unwrap();
    assert_eq!(real.outputs()[0].to_string(), "output0 [1, 84, 84]");
    let picture = bus_of(64, 64);
    let plain = run(&models, &real, HeadChoice::KeepPlain, &picture, 0.02);
    let cut = run(&models, &real, HeadChoice::CutIfPossible, &picture, 0.02);
    assert_eq!(plain.installed.bundle.manifest().head, HeadKind::YOLOV8);
    assert_eq!(cut.installed.bundle.manifest().head, HeadKind::YOLOV8_CUT);
    assert!(plain.found.objects.iter().any(|found| found.label == "bus"), "{:#?}", plain.found);
    assert_same(&cut.found, &plain.found, 1e-2, 1e-3);
    // 84 rows and 85 cells: YOLOX with COCO's classes has as many.
    let tiny = TinyDetector {
        strides: vec![8, 16, 32, 64],
        classes: 80,
        width: 64,
        height: 64,
        ..TinyDetector::default()
    };
    let installed = models.try_install(&tiny.model(), HeadChoice::CutIfPossible).unwrap();
    assert_eq!(installed.bundle.manifest().strides, [8, 16, 32, 64]);
}

/// `value` rounded to 16 bits, as its bits (IEEE 754 binary16, numbers too small become 0).
fn half_bits(value: f32) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = value.abs();
    if magnitude < 2_f32.powi(-14) {
        return sign | (magnitude * 2_f32.powi(24)).round() as u16;
    }
    assert!(magnitude < 65504.0, "{value} is too large for 16 bits");
    let exponent = magnitude.log2().floor() as i32;
    let fraction = (magnitude / 2_f32.powi(exponent) * 1024.0).round() as u32;
    // A fraction of 2048 carries into the exponent, as the format has it.
    sign | ((((exponent + 15) as u32) << 10) + fraction - 1024) as u16
}

/// The same network in 16-bit floats from end to end.
fn in_halves(model: &OnnxModel) -> OnnxModel {
    let mut model = model.clone();
    let graph = graph(&mut model);
    // The scales of `Resize` stay floats of 32 bits.
    let resize = graph.node.iter().filter(|node| node.op_type() == "Resize");
    let scales: Vec<String> = resize.flat_map(|node| node.input[1..].to_vec()).collect();
    for node in graph.node.iter_mut().filter(|node| node.op_type() == "Constant") {
        let is_scale = scales.contains(&node.output[0]);
        let tensors = node.attribute.iter_mut().filter_map(|attribute| attribute.t.as_mut());
        tensors.filter(|_| !is_scale).for_each(halve);
    }
    let weights = graph.initializer.iter_mut();
    weights.filter(|tensor| !scales.contains(tensor.name.as_ref().unwrap())).for_each(halve);
    for end in graph.input.iter_mut().chain(&mut graph.output) {
        set_element_type(end, FLOAT16);
    }
    graph.value_info.clear();
    model
}

fn halve(tensor: &mut TensorProto) {
    if tensor.data_type() != 1 {
        return;
    }
    let raw = tensor.raw_data().to_vec();
    let values = raw.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
    let values: Vec<f32> = values.chain(tensor.float_data.drain(..)).collect();
    let halves: Vec<u8> = values.iter().flat_map(|v| half_bits(*v).to_le_bytes()).collect();
    tensor.raw_data = Some(halves.into());
    tensor.data_type = Some(FLOAT16);
}

#[test]
fn sixteen_bits_at_both_ends_find_what_thirty_two_find() {
    let models = Models::new();
    let bus = picture("bus.jpg");
    let default = read("yolov8n");
    let halves = in_halves(&default);
    assert_eq!(halves.inputs()[0].to_string().split(" of ").nth(1), Some("float16"));
    for (head, kind, pixels) in [
        (HeadChoice::CutIfPossible, HeadKind::YOLOV8_CUT, 0.25),
        (HeadChoice::KeepPlain, HeadKind::YOLOV8, 1.0),
    ] {
        let expected = find(&models, &default, head, &bus, 0.3);
        let tried = run(&models, &halves, head, &bus, 0.3);
        assert!(tried.found.objects.len() >= 4, "{:#?}", tried.found);
        assert_same(&tried.found, &expected, pixels, 0.003);
        let bundle = tried.installed.bundle;
        assert_eq!(bundle.manifest().head, kind);
        let installed = OnnxModel::parse(fs::read(bundle.model_path()).unwrap()).unwrap();
        for end in installed.inputs().iter().chain(&installed.outputs()) {
            assert!(!end.to_string().contains("float16"), "{end}");
        }
    }
}

#[test]
fn poses_and_oriented_boxes_are_refused_as_such_without_any_metadata() {
    let models = Models::new();
    for extras in [1, 51] {
        for head in BOTH_HEADS {
            let mut model = TinyDetector { extras, ..TinyDetector::default() }.model();
            let mut silent = model.clone();
            forget_shape(&mut graph(&mut silent).output[0]);
            // Its names would fit, had it as many classes as values.
            let names: Vec<String> = (0..3 + extras).map(|class| format!("{class}")).collect();
            set_metadata(&mut model, "names", &format!("[{}]", names.join(", ")));
            for model in [&model, &silent] {
                let error = models.try_install(model, head).unwrap_err();
                assert!(matches!(error, ModelError::NotADetector { .. }), "{error}");
                assert!(error.to_string().contains("poses, oriented boxes"), "{error}");
            }
        }
    }
}

#[test]
fn outputs_beside_the_boxes_are_dropped() {
    let models = Models::new();
    let mut model = TinyDetector { width: 384, height: 256, ..TinyDetector::default() }.model();
    set_metadata(&mut model, "names", "['a', 'b', 'c']");
    let picture = bus_of(384, 256);
    for head in BOTH_HEADS {
        let expected = find(&models, &model, head, &picture, 0.2);
        let mut beside = model.clone();
        for (stride, side) in [(8, [32, 48]), (16, [16, 24]), (32, [8, 12])] {
            let shape = [1, 64, side[0], side[1]];
            graph(&mut beside).output.push(info(&format!("box{stride}"), &shape, 1));
        }
        assert_same(&find(&models, &beside, head, &picture, 0.2), &expected, 1e-3, 1e-5);
    }
}
