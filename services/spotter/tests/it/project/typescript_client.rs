//! The tests of the TypeScript client, which start a system of their own.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use testkit::{Process, workspace_root};

use crate::node::has_packages;

/// Only runs that hang take this long together. The test runner stops the test after ten minutes, and would not show what
/// they have written.
const LONGEST: Duration = Duration::from_secs(9 * 60);

/// Runs Node in the folder of the client. The test fails with all lines that a program has written which fails.
fn node(package: &Path, deadline: Instant, arguments: &[&str]) {
    let mut run = Process::builder("node")
        .args(arguments)
        .current_dir(package)
        .env("SPOTTER_PROGRAM", env!("CARGO_BIN_EXE_spotter"))
        .start();
    let code = run.wait_exit(deadline.saturating_duration_since(Instant::now())).code();
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
    let deadline = Instant::now() + LONGEST;
    // Checks sources and tests, and compiles both.
    node(
        &package,
        deadline,
        &["node_modules/typescript/bin/tsc", "--noEmit", "false", "--outDir", ".build"],
    );
    node(&package, deadline, &[".build/tests/main.js"]);
}
