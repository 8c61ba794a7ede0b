//! fuzz/Cargo.lock knows the dependencies of the project's crates: no other build reads it, so nothing else says when it is
//! out of date.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use testkit::workspace_root;

use super::crates::packages;

/// The dependencies of each package without a source: those are crates of the project.
fn locked() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(workspace_root().join("fuzz/Cargo.lock")).unwrap();
    let own = text.split("[[package]]").skip(1).filter(|package| !package.contains("\nsource = "));
    own.map(|package| {
        let quoted = |line: &str| line.split('"').nth(1).map(str::to_owned);
        let name = package.lines().find_map(|line| quoted(line.strip_prefix("name = ")?));
        let dependencies = package.lines().filter_map(|line| quoted(line.strip_prefix(" ")?));
        // Where there are several versions of a package, its version is behind the name.
        let names = dependencies.map(|name| name.split(' ').next().unwrap().to_owned());
        (name.unwrap(), names.collect())
    })
    .collect()
}

#[test]
fn the_lock_file_of_the_fuzz_targets_is_current() {
    let locked = locked();
    let mut checked = 0;
    for package in packages() {
        let Some(locked) = package["name"].as_str().and_then(|name| locked.get(name)) else {
            continue;
        };
        checked += 1;
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        // Those of tests are not in it.
        let needed = dependencies
            .filter(|dependency| dependency["kind"].is_null() && dependency["optional"] == false);
        for dependency in needed {
            let name = dependency["name"].as_str().unwrap();
            assert!(
                locked.contains(name),
                "fuzz/Cargo.lock has no {name} for {}: run `cargo metadata` in fuzz/",
                package["name"]
            );
        }
    }
    assert!(checked >= 4, "only {checked} crates of the project are in fuzz/Cargo.lock");
}
