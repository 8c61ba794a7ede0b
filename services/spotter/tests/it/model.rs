//! `spotter model`: installing, listing, checking.

use std::fs;

use testkit::{require, workspace_root};

use crate::whole::{Ended, spotter};

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
fn a_strange_file_is_refused_with_what_was_found() {
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

#[test]
fn help_leads_a_newcomer_on() {
    let help = Ended::of(spotter(["--help"]));
    assert_eq!(help.code, Some(0));
    let text = help.stdout.join("\n");
    for command in ["up", "detect", "submit", "model"] {
        assert!(text.contains(&format!("\n  {command} ")), "{command} in {text}");
    }
    assert_eq!(Ended::of(spotter(["nosuch"])).code, Some(64));
}
