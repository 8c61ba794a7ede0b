//! The allowed dependencies: the table of ARCHITECTURE.md, checked against `cargo metadata`.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::Value;
use testkit::workspace_root;

/// The crates of the project, each with those it may depend on.
const ALLOWED: [(&str, &[&str]); 11] = [
    ("domain", &[]),
    ("service", &[]),
    ("testkit", &[]),
    ("client", &["domain"]),
    ("detector", &["domain"]),
    ("messaging", &["domain", "service"]),
    ("outbound", &["service"]),
    ("spotter-api", &["domain", "messaging", "outbound", "service"]),
    ("spotter-notifier", &["domain", "messaging", "outbound", "service"]),
    ("spotter-worker", &["domain", "detector", "messaging", "service"]),
    (
        "spotter",
        &[
            "client",
            "domain",
            "detector",
            "messaging",
            "service",
            "spotter-api",
            "spotter-notifier",
            "spotter-worker",
        ],
    ),
];

/// External packages, each with the only crates that may depend on it.
const OWNED: [(&str, &[&str]); 16] = [
    ("ort", &["detector"]),
    ("image", &["detector"]),
    ("turbojpeg", &["detector"]),
    ("prost", &["detector", "testkit"]),
    ("reqwest", &["client", "testkit"]),
    ("tokio-rustls", &["client", "outbound", "testkit"]),
    ("ring", &["spotter-notifier"]),
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

/// The crates of the project, from `cargo metadata`.
pub(super) fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(workspace_root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// A crate's dependencies without dev-dependencies.
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
fn crates_depend_only_on_those_allowed() {
    let found = dependencies();
    let named: BTreeSet<_> = ALLOWED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), named, "a new crate needs a row");
    for (name, allowed) in ALLOWED {
        for dependency in found[name].intersection(&named) {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{name} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn an_external_package_has_one_owner() {
    for (name, dependencies) in dependencies() {
        for (package, owners) in OWNED {
            let may = owners.contains(&name.as_str());
            assert!(may || !dependencies.contains(package), "{name} must not depend on {package}");
        }
    }
}

/// A build for users must not crash because of an environment variable.
#[test]
fn only_tests_turn_failpoints_on() {
    const FEATURE: &str = "failpoints";
    for package in packages() {
        let name = text(&package, "name");
        let by_default = package["features"]["default"].as_array().cloned().unwrap_or_default();
        assert!(by_default.iter().all(|feature| feature != FEATURE), "{name} has it by default");
        for dependency in dependencies_of(&package) {
            let mut features = dependency["features"].as_array().unwrap().iter();
            assert!(features.all(|feature| feature != FEATURE), "{name} enables it: {dependency}");
        }
    }
}
