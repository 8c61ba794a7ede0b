//! `spotter detect`: finds objects without any server.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::Path};

use serde_json::Value;
use testkit::{picture, workspace_root};

use crate::{
    harness::{Ended, spotter},
    reference::{assert_bus, assert_zidane},
};

fn json_lines(ended: &Ended) -> Vec<Value> {
    ended.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_default_model_gives_the_reference_tables() {
    let ended = spotter(["detect", "--json"]).arg(picture("bus.jpg")).arg(picture("zidane.jpg"));
    let ended = Ended::of(ended);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let results = json_lines(&ended);
    assert_bus(&results[0]["objects"]);
    assert_zidane(&results[1]["objects"]);
    assert_eq!(
        (results[0]["width"].as_u64(), results[0]["height"].as_u64()),
        (Some(810), Some(1080))
    );
}

/// By default it writes an id of the machine and a database of events, and sends these to its vendor.
#[test]
fn onnx_runtime_records_nothing() {
    let home = tempfile::tempdir().unwrap();
    let ended = spotter(["detect"]).arg(picture("bus.jpg"));
    let ended = Ended::of(ended.env("HOME", home.path()).env("TMPDIR", home.path()));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_objects_are_printed_in_formats_of_other_tools() {
    let detect = |format: &str| spotter(["detect", "--format", format]).arg(picture("bus.jpg"));
    let ended = Ended::of(detect("yolo"));
    assert_eq!((ended.code, ended.stdout.len()), (Some(0), 6), "{ended:?}");
    assert!(ended.stdout[0].starts_with("5 0.511"), "{ended:?}");
    let ended = Ended::of(detect("csv"));
    assert!(ended.stdout[1].starts_with("bus.jpg,810,1080,5,bus,0.873"), "{ended:?}");
    assert_eq!(ended.stdout.len(), 7);
    let coco = json_lines(&Ended::of(detect("coco")));
    assert_eq!(coco[0]["annotations"].as_array().unwrap().len(), 6);

    let ended = Ended::of(detect("csv").arg(picture("zidane.jpg")));
    assert_eq!(ended.code, Some(64));
    assert!(ended.stderr[0].contains("one picture"), "{ended:?}");
    assert_eq!(Ended::of(detect("xml")).code, Some(64));
}

#[test]
fn another_model_is_chosen_by_its_name() {
    let ended = spotter(["detect", "--json", "--model", "yolo11n"]).arg(picture("bus.jpg"));
    let results = json_lines(&Ended::of(ended));
    let found: Vec<(String, f64)> = results[0]["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| {
            let name = object["name"].as_str().unwrap().to_owned();
            (name, object["confidence"].as_f64().unwrap())
        })
        .collect();
    let expected =
        [("bus", 0.94), ("person", 0.89), ("person", 0.88), ("person", 0.86), ("person", 0.62)];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((name, confidence), (expected_name, expected)) in found.iter().zip(expected) {
        assert_eq!(name, expected_name);
        assert!((confidence - expected).abs() <= 0.01, "{name}: {confidence}, not {expected}");
    }
}

#[test]
fn yolox_is_recognised_from_its_file() {
    let file = workspace_root().join("../shared/models/yolox_nano.onnx");
    if !file.exists() {
        eprintln!("SKIPPED: no YOLOX model at {}", file.display());
        return;
    }
    let models = tempfile::tempdir().unwrap();
    let added = spotter(["model", "add", "--models-dir"]).arg(models.path()).arg(&file);
    let added = Ended::of(added);
    assert_eq!(added.code, Some(0), "{added:?}");
    let detected = spotter(["detect", "--json", "--model", "yolox_nano", "--models-dir"])
        .arg(models.path())
        .arg(picture("bus.jpg"));
    let results = json_lines(&Ended::of(detected));
    let count = |name: &str| {
        let objects = results[0]["objects"].as_array().unwrap();
        objects.iter().filter(|object| object["name"] == name).count()
    };
    assert_eq!(count("bus"), 1, "{results:?}");
    assert!(count("person") >= 3, "{results:?}");
}

#[test]
fn one_bad_picture_does_not_hide_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.jpg");
    fs::write(&bad, "not a picture").unwrap();
    let ended = spotter(["detect", "--json"]).arg(&bad).arg("absent.jpg").arg(picture("bus.jpg"));
    let ended = Ended::of(ended);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let results = json_lines(&ended);
    assert!(results[0]["error"].is_string() && results[1]["error"].is_string(), "{results:?}");
    assert_bus(&results[2]["objects"]);
}

#[test]
fn damaged_pixels_lead_to_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("damaged.jpg");
    let mut bytes = fs::read(picture("bus.jpg")).unwrap();
    // The lower part of the pixels, without the end marker.
    let end = bytes.len() - 2;
    bytes.drain(end - end / 3..end);
    fs::write(&damaged, bytes).unwrap();
    let ended = Ended::of(spotter(["detect", "--json"]).arg(&damaged).arg(picture("bus.jpg")));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let results = json_lines(&ended);
    assert!(results[0]["warnings"][0].as_str().unwrap().contains("ends early"), "{results:?}");
    assert!(results[1].get("warnings").is_none(), "{results:?}");

    let ended = Ended::of(spotter(["detect"]).arg(&damaged));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let remarks = ended.stderr.join("\n");
    assert!(
        remarks.contains("damaged.jpg  warning: ") && remarks.contains("ends early"),
        "{remarks}"
    );
}

#[test]
fn pictures_are_saved_with_the_objects_drawn_in() {
    let folder = tempfile::tempdir().unwrap();
    let ended = spotter(["detect", "--save"]).arg(folder.path()).arg(picture("bus.jpg"));
    assert_eq!(Ended::of(ended).code, Some(0));
    let drawn = fs::read(folder.path().join("bus.jpg")).unwrap();
    assert_ne!(drawn, fs::read(picture("bus.jpg")).unwrap());
    let header = domain::picture::inspect(&drawn, &Default::default()).unwrap();
    assert_eq!((header.width, header.height), (810, 1080));
}

#[test]
fn a_name_that_is_not_utf_8_is_shown_as_well_as_it_can_be_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    // `für.jpg` in Latin-1, as in old archives, and an extension that is not UTF-8.
    let names = [&b"f\xfcr.jpg"[..], b"bus.j\xffpg"].map(OsStr::from_bytes);
    let pictures = names.map(|name| folder.path().join(name));
    for path in &pictures {
        fs::copy(picture("bus.jpg"), path).unwrap();
    }
    let absent = folder.path().join(OsStr::from_bytes(b"\xff\xfe.jpg"));
    let drawn = folder.path().join(OsStr::from_bytes(b"drawn-\xe9"));
    let detect = |save: &[&OsStr]| {
        let detect = spotter(["detect", "--json"]).args(save);
        Ended::of(detect.args(&pictures).arg(&absent).arg(picture("zidane.jpg")))
    };
    let ended = detect(&[OsStr::new("--save"), drawn.as_os_str()]);
    assert_eq!(ended.code, Some(1), "one of four is absent: {ended:?}");
    let results = json_lines(&ended);
    assert_eq!(results.len(), 4, "{ended:?}");
    for (result, shown) in results.iter().zip(["f\u{fffd}r.jpg", "bus.j\u{fffd}pg"]) {
        assert!(result["picture"].as_str().unwrap().ends_with(shown), "{result}");
        assert_bus(&result["objects"]);
    }
    assert!(results[2]["picture"].as_str().unwrap().ends_with("\u{fffd}\u{fffd}.jpg"));
    assert!(results[2]["error"].is_string(), "{results:?}");
    assert_zidane(&results[3]["objects"]);
    // Drawings keep the names; a file without a known extension becomes a PNG.
    for name in [names[0], OsStr::new("bus.png")] {
        assert!(drawn.join(name).is_file(), "{name:?}");
    }

    let ended = Ended::of(spotter(["detect"]).args(&pictures).arg(&absent));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.join("\n").contains("f\u{fffd}r.jpg"), "{ended:?}");
    assert!(ended.stderr.join("\n").contains("\u{fffd}\u{fffd}.jpg  failed"), "{ended:?}");
}

#[test]
fn saving_overwrites_no_picture() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("bus.jpg");
    fs::copy(picture("bus.jpg"), &own).unwrap();
    let detect = || spotter(["detect", "--json", "--save"]);
    let ended = Ended::of(detect().arg(folder.path()).arg(picture("zidane.jpg")).arg(&own));
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.stderr.join("\n").contains(&own.display().to_string()), "{ended:?}");
    assert!(ended.stdout.is_empty(), "refused before any work is done: {ended:?}");
    assert_eq!(fs::read(&own).unwrap(), fs::read(picture("bus.jpg")).unwrap());

    let drawn = folder.path().join("drawn");
    let ended = Ended::of(detect().arg(&drawn).arg(picture("bus.jpg")).arg(&own));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let drawings = ["bus.jpg", "bus-2.jpg"].map(|name| fs::read(drawn.join(name)).unwrap());
    assert_eq!(drawings[0], drawings[1], "one picture, drawn twice");
}

#[test]
fn an_endless_picture_is_refused() {
    let ended = Ended::of(spotter(["detect", "--json", "/dev/zero"]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(json_lines(&ended)[0]["error"].is_string(), "{ended:?}");
}

#[test]
fn an_empty_variable_is_not_set() {
    let mut detect = spotter(["detect", "--json"]).arg(picture("bus.jpg"));
    for name in ["MODEL", "MODELS_DIR", "ORT_DYLIB_PATH"] {
        detect = detect.env(name, "");
    }
    let ended = Ended::of(detect);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_bus(&json_lines(&ended)[0]["objects"]);
}

#[test]
fn an_absent_model_is_a_usage_error() {
    let ended = Ended::of(spotter(["detect", "--model", "nosuch"]).arg(picture("bus.jpg")));
    assert_eq!(ended.code, Some(64), "{ended:?}");
    let message = ended.stderr.join("\n");
    assert!(message.contains("spotter model add") && message.contains("yolov8n"), "{message}");
}

#[test]
fn an_absent_library_is_a_usage_error() {
    let detect = spotter(["detect"]).env("ORT_DYLIB_PATH", Path::new("/absent/libonnxruntime.so"));
    let ended = Ended::of(detect.arg(picture("bus.jpg")));
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.stderr.join("\n").contains("make setup"), "{ended:?}");
}

#[test]
fn thresholds_out_of_range_are_usage_errors() {
    for option in [["--conf", "2"], ["--iou", "-1"], ["--max-detections", "0"]] {
        let ended = Ended::of(spotter(["detect", "x.jpg"]).args(option));
        assert_eq!(ended.code, Some(64), "{option:?}: {ended:?}");
    }
}
