//! Parses a model file, searches for its head, cuts it and serializes the result.

#![no_main]

use std::path::Component;

use detector::onnx::{
    OnnxModel,
    batch::with_dynamic_batch,
    cut::{InputSize, NewOutput, end_at, find_head},
    external::Place,
    float_ends::with_float32_ends,
    parse_names,
};
use libfuzzer_sys::fuzz_target;

/// The classes of the models in the corpus, COCO's, and none.
const CLASSES: [usize; 4] = [0, 2, 64, 80];

fuzz_target!(|file: &[u8]| {
    let Ok(model) = OnnxModel::parse_graph(file.to_vec()) else { return };
    // External weights are read only within the model's directory.
    for tensor in model.proto.graph.iter().flat_map(|graph| &graph.initializer) {
        if let Ok(place) = Place::of(tensor) {
            assert!(place.file.is_relative());
            assert!(place.file.components().all(|part| part != Component::ParentDir));
        }
    }
    let Ok(model) = OnnxModel::parse(file.to_vec()) else { return };
    assert!(OnnxModel::parse(with_dynamic_batch(&model, 4).to_bytes()).is_ok());
    if let Some(converted) = with_float32_ends(&model) {
        assert!(
            with_float32_ends(&converted).is_none(),
            "a second conversion finds nothing to convert"
        );
    }
    for tensor in model.inputs().into_iter().chain(model.outputs()) {
        let _ = tensor.to_string();
    }
    let _ = model.producer();
    for key in ["names", "imgsz", "task", "license"] {
        if let Some(names) = model.metadata(key).and_then(parse_names) {
            for classes in CLASSES {
                assert!(names.for_classes(classes).is_none_or(|names| names.len() == classes));
            }
        }
    }
    for classes in CLASSES {
        let Ok(head) = find_head(&model, classes) else { continue };
        assert_eq!(head.boxes.len(), head.scores.len());
        let channels = 4 * head.bins;
        let outputs: Vec<NewOutput> = (0..)
            .zip(
                head.boxes
                    .iter()
                    .map(|tensor| (tensor, channels))
                    .chain(head.scores.iter().map(|tensor| (tensor, classes))),
            )
            .map(|(place, (tensor, channels))| NewOutput {
                tensor: tensor.clone(),
                name: format!("output_{place}"),
                channels,
            })
            .collect();
        let cut = end_at(&model, &outputs, InputSize::Dynamic);
        assert_eq!(cut.outputs().len(), outputs.len());
        assert!(OnnxModel::parse(cut.to_bytes()).is_ok(), "the cut graph is a model");
    }
});
