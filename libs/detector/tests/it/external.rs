//! Weights in files beside the model.

use std::{
    fs::{self, File},
    path::Path,
};

use detector::{
    ModelBundle, ModelError,
    model::install::{InstallNote, Installed},
    onnx::{
        OnnxError, OnnxModel,
        proto::{StringStringEntryProto, TensorProto, tensor_proto::DataLocation},
    },
};

use crate::{
    graphs::{TinyDetector, constants, graph, set_metadata},
    support::Models,
};

fn tiny() -> OnnxModel {
    let mut model = TinyDetector::default().model();
    set_metadata(&mut model, "names", "['a', 'b', 'c']");
    model
}

/// Moves the values of `tensor` into another file.
fn move_out(tensor: &mut TensorProto, entries: &[(&str, String)]) {
    let entry = |(key, value): &(&str, String)| StringStringEntryProto {
        key: Some((*key).to_owned()),
        value: Some(value.clone()),
    };
    tensor.external_data = entries.iter().map(entry).collect();
    tensor.data_location = Some(DataLocation::External as i32);
    tensor.raw_data = None;
}

fn install(models: &Models, model: &OnnxModel) -> Result<Installed, ModelError> {
    models.try_install(model, detector::model::install::HeadChoice::CutIfPossible)
}

fn problem(models: &Models, model: &OnnxModel) -> OnnxError {
    match install(models, model) {
        Err(ModelError::NotOnnx { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

/// Writes the weights of `model` into one file, each from a multiple of 64 on, as exporters do.
fn into_one_file(model: &OnnxModel, folder: &Path, file: &str) -> OnnxModel {
    let mut moved = model.clone();
    let mut data = Vec::new();
    for tensor in constants(graph(&mut moved)) {
        let values = tensor.raw_data().to_vec();
        data.resize(data.len().next_multiple_of(64), 0xff);
        let (offset, length) = (data.len().to_string(), values.len().to_string());
        let location = ("location", file.to_owned());
        move_out(tensor, &[location, ("offset", offset), ("length", length)]);
        data.extend(values);
    }
    fs::write(folder.join(file), data).unwrap();
    moved
}

#[test]
fn weights_beside_the_model_become_part_of_it() {
    let models = Models::new();
    let folder = models.dir.path();
    let expected = install(&models, &tiny()).unwrap().bundle.manifest().clone();

    let one = into_one_file(&tiny(), folder, "made.onnx.data");
    let installed = install(&models, &one).unwrap();
    let note = |note: &InstallNote| match note {
        InstallNote::WeightsEmbedded { files, .. } => files == &["made.onnx.data"],
        _ => false,
    };
    assert!(installed.notes.iter().any(note), "{:?}", installed.notes);
    let manifest = installed.bundle.manifest().clone();
    assert_eq!(manifest.sha256, expected.sha256);
    assert_ne!(manifest.source_sha256, expected.source_sha256);
    installed.bundle.verify().unwrap();

    // In a folder of their own, one file for each, without offset or length.
    fs::create_dir(folder.join("weights")).unwrap();
    let mut many = tiny();
    for tensor in constants(graph(&mut many)) {
        let file = format!("weights/{}", tensor.name());
        fs::write(folder.join(&file), tensor.raw_data()).unwrap();
        move_out(tensor, &[("location", format!("./{file}"))]);
    }
    assert_eq!(install(&models, &many).unwrap().bundle.manifest().sha256, expected.sha256);

    // Other weights are another source, though the file that names them is the same.
    let mut data = fs::read(folder.join("made.onnx.data")).unwrap();
    data[0] ^= 1;
    fs::write(folder.join("made.onnx.data"), data).unwrap();
    let changed = install(&models, &one).unwrap().bundle.manifest().clone();
    assert_ne!(changed.source_sha256, manifest.source_sha256);

    // The files are not needed afterwards.
    fs::remove_dir_all(folder.join("weights")).unwrap();
    fs::remove_file(folder.join("made.onnx.data")).unwrap();
    let bundle = ModelBundle::load(&folder.join("cut")).unwrap();
    models.load(&bundle);
}

#[test]
fn weights_are_looked_for_beside_the_model_and_nowhere_else() {
    let models = Models::new();
    let folder = models.dir.path().join("inner");
    fs::create_dir(&folder).unwrap();
    let outside = models.dir.path().join("outside.data");
    fs::write(&outside, vec![0; 1 << 20]).unwrap();
    for location in [
        "../outside.data".to_owned(),
        "a/../../outside.data".to_owned(),
        "..\\outside.data".to_owned(),
        outside.display().to_string(),
        "..".to_owned(),
        String::new(),
    ] {
        let mut model = tiny();
        let tensor = constants(graph(&mut model)).next().unwrap();
        move_out(tensor, &[("location", location.clone())]);
        let error = problem(&models, &model);
        assert!(matches!(error, OnnxError::BadExternalData { .. }), "{location}: {error}");
    }
}

#[test]
fn a_missing_file_of_weights_is_named() {
    let models = Models::new();
    let moved = into_one_file(&tiny(), models.dir.path(), "made.onnx.data");
    fs::remove_file(models.dir.path().join("made.onnx.data")).unwrap();
    let error = install(&models, &moved).unwrap_err().to_string();
    for part in ["made.onnx ", "made.onnx.data", "the file does not exist", "beside the model"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    // A folder is no file, even of that name.
    fs::create_dir(models.dir.path().join("made.onnx.data")).unwrap();
    let error = problem(&models, &moved);
    assert!(matches!(error, OnnxError::UnreadableExternalData { .. }), "{error}");
}

#[test]
fn a_file_of_weights_must_have_the_declared_size() {
    let models = Models::new();
    let file = models.dir.path().join("short.data");
    fs::write(&file, [0; 64]).unwrap();
    let with = |entries: &[(&str, &str)]| {
        let mut model = tiny();
        let tensor = constants(graph(&mut model)).next().unwrap();
        let location = ("location", "short.data".to_owned());
        let entries = entries.iter().map(|(key, value)| (*key, (*value).to_owned()));
        move_out(tensor, &[location].into_iter().chain(entries).collect::<Vec<_>>());
        model
    };
    let bytes = constants(graph(&mut tiny())).next().unwrap().raw_data().len().to_string();
    for entries in [
        &[][..],
        &[("length", bytes.as_str())],
        &[("offset", "65")],
        &[("offset", "18446744073709551615")],
        &[("offset", "-1")],
        &[("offset", "0x10")],
        &[("length", "8")],
        &[("length", "18446744073709551615")],
    ] {
        let error = problem(&models, &with(entries));
        assert!(matches!(error, OnnxError::BadExternalData { .. }), "{entries:?}: {error}");
    }
}

#[test]
fn more_weights_than_a_file_can_hold_are_refused_unread() {
    let models = Models::new();
    let mut model = tiny();
    let tensor = constants(graph(&mut model)).next().unwrap();
    // Sparse: it uses no disk space, and reading it would take three gigabytes of memory.
    let file = File::create(models.dir.path().join("huge.data")).unwrap();
    file.set_len(3 << 30).unwrap();
    tensor.dims = vec![3 << 28];
    move_out(tensor, &[("location", "huge.data".to_owned())]);
    let error = problem(&models, &model);
    assert!(matches!(error, OnnxError::TooLarge { bytes } if bytes > 3 << 30), "{error}");
    assert!(error.to_string().contains("less than 2 GiB"), "{error}");

    // Many tensors at the same offset count once each.
    let mut model = tiny();
    for tensor in constants(graph(&mut model)) {
        tensor.dims = vec![1 << 27];
        tensor.data_type = Some(1);
        move_out(tensor, &[("location", "huge.data".to_owned())]);
    }
    let error = problem(&models, &model);
    assert!(matches!(error, OnnxError::TooLarge { .. }), "{error}");
}
