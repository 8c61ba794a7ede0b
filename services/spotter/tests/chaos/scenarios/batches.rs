//! The faults of batches: APIs die while they receive and end them, workers before they say how a picture ended, and
//! NATS is restarted in between.

use crate::{
    environment::Plan, faults::Fault, load::LoadPlan, scenario::Scenario, steps::Step,
    verdict::checker::Bounds,
};

/// For how long a process crashes, and a server is down, in milliseconds.
const CRASHES_MS: (u64, u64) = (3000, 5000);
const DOWN_MS: (u64, u64) = (100, 1500);

#[test]
fn batches_whose_processes_crash_and_servers_restart() {
    let load = LoadPlan {
        pause_ms: 600,
        batches: 0.8,
        open_batches: 70,
        callbacks: 0.5,
        cancels: 0.1,
        ..LoadPlan::default()
    };
    let plan = Plan { workers: 2, ..Plan::default() };
    let mut scenario = Scenario::start("batches", plan, load);
    let faults = [
        Fault::Crash(Step::ApiBeforeAnswer),
        Fault::NatsKilled,
        Fault::Crash(Step::WorkerBeforeAnnounce),
        Fault::ApiKilled,
        Fault::Crash(Step::ApiBeforePublish),
        Fault::ConnectionsCut,
        Fault::Crash(Step::ApiBeforeReport),
        Fault::Delayed,
        Fault::NotifierKilled,
    ];
    for fault in faults {
        let (from, to) = if matches!(fault, Fault::Crash(_)) { CRASHES_MS } else { DOWN_MS };
        let hold = scenario.random_ms(from, to);
        scenario.during(fault, hold);
        let calm = scenario.random_ms(300, 1000);
        scenario.pass(calm);
    }
    let batches = scenario.finish(Bounds::default()).batches();
    assert!(batches.whole > 0 && batches.reported > 0, "{batches:?}");
    let interrupted = batches.continued + batches.broken_off;
    assert!(interrupted > 0, "no batch broke off: {batches:?}");
}
