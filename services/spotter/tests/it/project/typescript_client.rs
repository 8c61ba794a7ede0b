//! The tests of the TypeScript client, which start a system of their own.

use std::{path::Path, time::Duration};

use testkit::{Process, workspace_root};

use crate::node::has_packages;

/// Only a run that hangs takes this long; the test runner would stop it a minute later.
const LONGEST: Duration = Duration::from_secs(8 * 60);

/// Runs Node in the folder of the client. The test fails with all lines that a program has written which fails.
fn node(package: &Path, arguments: &[&str]) {
    let mut run = Process::builder("node")
        .args(arguments)
        .current_dir(package)
        .env("SPOTTER_PROGRAM", env!("CARGO_BIN_EXE_spotter"))
        .start();
    let code = run.wait_exit(LONGEST).code();
    let lines: Vec<_> = run.finished_lines().into_iter().map(|line| line.text).collect();
    assert_eq!(code, Some(0), "{}", lines.join("\n"));
}

#[test]
fn the_typescript_client_passes_its_tests() {
    let package = workspace_root().join("libs/client-typescript");
    assert!(package.is_dir(), "{} is missing", package.display());
    if !has_packages(&package) {
        return;
    }
    // Checks sources and tests, and compiles both.
    node(&package, &["node_modules/typescript/bin/tsc", "--noEmit", "false", "--outDir", ".build"]);
    node(&package, &[".build/tests/main.js"]);
}
