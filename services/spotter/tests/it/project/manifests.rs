//! The containers of k8s/ as processes, with names, logins, certificates and probes as in a cluster.

use std::time::Duration;

use testkit::{Process, workspace_root};

use crate::harness::Ended;

/// Only a run that hangs takes this long; the test runner would stop it a minute later.
const LONGEST: Duration = Duration::from_secs(9 * 60);

/// Three NATS servers with TLS, Redis with TLS, set-up, an API and a worker of each of two pools.
#[test]
fn the_production_overlay_with_a_second_pool_runs_pictures() {
    let script = workspace_root().join("scripts/run-overlay");
    let program = ["--spotter", env!("CARGO_BIN_EXE_spotter")];
    let mut run =
        Process::builder(script).arg("production with worker-large").args(program).start();
    run.wait_exit(LONGEST);
    let ended = Ended::after(run);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    match ended.stderr.iter().find(|line| line.contains("SKIPPED")) {
        Some(skipped) => eprintln!("{skipped}"),
        None => assert!(ended.stdout.iter().any(|line| line.contains("a picture went through"))),
    }
}
