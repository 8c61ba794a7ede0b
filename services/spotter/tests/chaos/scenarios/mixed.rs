//! Every fault in random order, or those of `CHAOS_FAULTS`, some at the same time, for `CHAOS_SECONDS`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::RngExt;
use testkit::SmallDisk;

use crate::{
    environment::Plan, faults::Fault, load::LoadPlan, scenario::Scenario, steps::Step,
    verdict::checker::Bounds, verdict::report::Report,
};

const SHORT: u64 = 20;

/// No poison is sent in this time before the end: it takes five runs, each up to its deadline.
const POISON_TAKES: Duration = Duration::from_secs(120);

/// Fewer than the load keeps open, so that the queue fills up.
const QUEUE_MAX_MESSAGES: u64 = 45;

/// Room for all records of ten minutes, and small enough to be filled in a moment.
const DISK_BYTES: u64 = 256 << 20;

#[test]
fn mixed_on_one_node() {
    let report =
        run("mixed on one node", Plan { keys: true, ..Plan::default() }, &Fault::ON_ONE_NODE);
    let strangers = report.strangers();
    assert!(strangers.unseen > 0 && strangers.refused > 0, "{strangers:?}");
}

#[test]
fn mixed_on_a_cluster() {
    let faults = [Fault::ON_ONE_NODE.as_slice(), &Fault::ON_A_CLUSTER].concat();
    run("mixed on a cluster", Plan { cluster: true, ..Plan::default() }, &faults);
}

fn run(name: &'static str, plan: Plan, faults: &[Fault]) -> Report {
    let seconds = std::env::var("CHAOS_SECONDS").ok();
    let seconds = seconds.map_or(SHORT, |text| text.parse().expect("CHAOS_SECONDS is a number"));
    let disks = mount(if plan.cluster { 3 } else { 1 });
    let mut faults = faults.to_vec();
    faults.extend(Step::OF_A_WORKER.map(Fault::Crash));
    faults.extend(Step::OF_AN_API.map(Fault::Crash));
    faults.extend(Step::OF_BATCHES.map(Fault::Crash));
    faults.extend((!disks.is_empty()).then_some(Fault::DiskFull));
    if let Ok(only) = std::env::var("CHAOS_FAULTS") {
        let only: Vec<&str> = only.split(',').map(str::trim).collect();
        for name in &only {
            let is_known = faults.iter().any(|fault| fault.name() == *name);
            assert!(is_known, "CHAOS_FAULTS: this scenario has no fault '{name}'");
        }
        faults.retain(|fault| only.contains(&fault.name()));
    }
    let settings = vec![
        ("QUEUE_MAX_MESSAGES", QUEUE_MAX_MESSAGES.to_string()),
        ("JOB_DEADLINE_SECONDS", "4".to_owned()),
    ];
    let plan = Plan { workers: 3, poison: true, disks, settings, ..plan };
    let load = LoadPlan { batches: 0.05, ..LoadPlan::default() };
    let mut scenario = Scenario::start(name, plan, load);
    let until = Instant::now() + Duration::from_secs(seconds);
    // Every fault is injected once before any is repeated.
    let mut waiting: Vec<Fault> = Vec::new();
    while Instant::now() < until {
        if waiting.is_empty() {
            waiting.clone_from(&faults);
            waiting.extend((Instant::now() + POISON_TAKES < until).then_some(Fault::Poison));
        }
        let first = waiting.swap_remove(scenario.rng.random_range(0..waiting.len()));
        let mut together = vec![first];
        if scenario.rng.random_bool(0.3)
            && let Some(at) = waiting.iter().position(|other| other.goes_with(first))
        {
            together.push(waiting.swap_remove(at));
        }
        let time = scenario.random_ms(200, 3000);
        scenario.during_all(&together, time);
        let calm = scenario.random_ms(100, 1500);
        scenario.pass(calm);
    }
    let report = scenario.finish(Bounds::default());
    assert!(report.total().accepted > 0, "nothing was accepted at all");
    report
}

/// A disk for each node, or none if this user may not mount one.
fn mount(nodes: usize) -> Vec<Arc<SmallDisk>> {
    let disks: Option<Vec<_>> =
        (0..nodes).map(|_| SmallDisk::mount(DISK_BYTES).map(Arc::new)).collect();
    disks.unwrap_or_else(|| {
        eprintln!("SKIPPED: no full disk in the mix: this user may not mount a small one");
        Vec::new()
    })
}
