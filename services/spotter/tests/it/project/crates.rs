//! Who may depend on whom: the table of ARCHITECTURE.md, held against `cargo metadata`.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;
use testkit::workspace_root;

/// Each crate of the project and the crates of the project it may depend on.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("domain", &[]),
    ("service", &[]),
    ("testkit", &[]),
    ("client", &["domain"]),
    ("detector", &["domain"]),
    ("messaging", &["domain", "service"]),
    ("spotter-api", &["domain", "messaging", "service"]),
    ("spotter-worker", &["domain", "detector", "messaging", "service"]),
    (
        "spotter",
        &["client", "domain", "detector", "messaging", "service", "spotter-api", "spotter-worker"],
    ),
];

/// Packages from outside that only one crate may know.
const OWNED: [(&str, &[&str]); 14] = [
    ("ort", &["detector"]),
    ("image", &["detector"]),
    ("turbojpeg", &["detector"]),
    ("prost", &["detector", "testkit"]),
    ("reqwest", &["client"]),
    ("opentelemetry-http", &["service"]),
    ("opentelemetry-otlp", &["service"]),
    ("opentelemetry-prometheus", &["service"]),
    ("opentelemetry-proto", &["testkit"]),
    ("opentelemetry_sdk", &["service"]),
    ("async-nats", &["messaging"]),
    ("poem", &["spotter-api"]),
    ("poem-openapi", &["spotter-api"]),
    ("redis", &["spotter-api"]),
];

/// The crates of the project, as cargo tells of them.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(workspace_root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// What a crate depends on outside its tests.
fn dependencies_of(package: &Value) -> impl Iterator<Item = &Value> {
    let dependencies = package["dependencies"].as_array().unwrap().iter();
    dependencies.filter(|dependency| dependency["kind"] != "dev")
}

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let names = |package| dependencies_of(package).map(|found| text(found, "name")).collect();
    packages().iter().map(|package| (text(package, "name"), names(package))).collect()
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

/// A build that people run must not do what a variable of the environment says about crashing.
#[test]
fn only_tests_turn_failpoints_on() {
    const FEATURE: &str = "failpoints";
    for package in packages() {
        let name = text(&package, "name");
        let by_default = package["features"]["default"].as_array().cloned().unwrap_or_default();
        assert!(by_default.iter().all(|feature| feature != FEATURE), "{name} has it by default");
        for dependency in dependencies_of(&package) {
            let mut features = dependency["features"].as_array().unwrap().iter();
            assert!(features.all(|feature| feature != FEATURE), "{name} asks for it: {dependency}");
        }
    }
}
