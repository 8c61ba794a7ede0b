//! Who may depend on whom: the table of ARCHITECTURE.md, held against `cargo metadata`.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;
use testkit::workspace_root;

/// Each crate of the project and the crates of the project it may depend on.
const ALLOWED: [(&str, &[&str]); 8] = [
    ("domain", &[]),
    ("runtime", &[]),
    ("testkit", &[]),
    ("detector", &["domain"]),
    ("messaging", &["domain", "runtime"]),
    ("spotter-api", &["domain", "messaging", "runtime"]),
    ("spotter-worker", &["domain", "detector", "messaging", "runtime"]),
    ("spotter", &["domain", "detector", "messaging", "runtime", "spotter-api", "spotter-worker"]),
];

/// Packages from outside that only one crate may know.
const OWNED: [(&str, &[&str]); 10] = [
    ("ort", &["detector"]),
    ("image", &["detector"]),
    ("turbojpeg", &["detector"]),
    ("prost", &["detector"]),
    ("reqwest", &["spotter"]),
    ("opentelemetry-prometheus", &["runtime"]),
    ("async-nats", &["messaging"]),
    ("poem", &["spotter-api"]),
    ("poem-openapi", &["spotter-api"]),
    ("redis", &["spotter-api"]),
];

/// For each crate of the project, what it depends on outside its tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(workspace_root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let dependencies_of = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let of_product = dependencies.filter(|dependency| dependency["kind"] != "dev");
        of_product.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
    };
    let named = |package| (text(package, "name"), dependencies_of(package));
    packages.iter().map(named).collect()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap().to_owned()
}

#[test]
fn crates_of_the_project_know_only_whom_they_may() {
    let found = dependencies();
    let named: BTreeSet<_> = ALLOWED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), named, "a new crate needs a row");
    for (name, allowed) in ALLOWED {
        for dependency in found[name].intersection(&named) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not know {dependency}");
        }
    }
}

#[test]
fn a_package_from_outside_has_one_owner() {
    for (name, dependencies) in dependencies() {
        for (package, owners) in OWNED {
            let may = owners.contains(&name.as_str());
            assert!(may || !dependencies.contains(package), "{name} must not know {package}");
        }
    }
}
