//! The tests of the Python client, which start a system of their own.

use std::time::Duration;

use testkit::{Process, workspace_root};

use crate::harness::Ended;

/// Only a run that hangs takes this long; the test runner would stop it a minute later.
const LONGEST: Duration = Duration::from_secs(9 * 60);

/// `scripts/python-client` ends with it where its packages cannot be had.
const SKIPPED: i32 = 77;

/// A shell ends with it where there is no such program, such as Python.
const NO_SUCH_PROGRAM: i32 = 127;

#[test]
fn the_python_client_passes_its_tests() {
    let script = workspace_root().join("scripts/python-client");
    assert!(script.is_file(), "{} is missing", script.display());
    let program = ["test", "--spotter", env!("CARGO_BIN_EXE_spotter")];
    let mut run = Process::builder(script).args(program).start();
    run.wait_exit(LONGEST);
    let ended = Ended::after(run);
    match ended.code {
        Some(0) => {}
        Some(SKIPPED | NO_SUCH_PROGRAM) => {
            eprintln!("SKIPPED: the Python client was not tested: {}", ended.stderr.join("\n"));
        }
        _ => panic!("{ended:#?}"),
    }
}
