//! Every fault in random order, some at the same time, for as long as `CHAOS_SECONDS` says.

use std::time::{Duration, Instant};

use rand::RngExt;

use crate::{chaos::Chaos, checker::Bounds, faults::Fault, load::LoadPlan, stand::Plan};

const SHORT: u64 = 20;

#[test]
fn mixed_on_one_node() {
    run("mixed on one node", false, &Fault::ON_ONE_NODE);
}

#[test]
fn mixed_on_a_cluster() {
    let faults = [Fault::ON_ONE_NODE.as_slice(), &Fault::ON_A_CLUSTER].concat();
    run("mixed on a cluster", true, &faults);
}

fn run(name: &'static str, cluster: bool, faults: &[Fault]) {
    let seconds = std::env::var("CHAOS_SECONDS").ok();
    let seconds = seconds.map_or(SHORT, |text| text.parse().expect("CHAOS_SECONDS is a number"));
    let plan = Plan { cluster, workers: 3, ..Plan::default() };
    let mut chaos = Chaos::start(name, plan, LoadPlan::default());
    let until = Instant::now() + Duration::from_secs(seconds);
    // Each fault has its turn before any comes again.
    let mut waiting: Vec<Fault> = Vec::new();
    while Instant::now() < until {
        if waiting.is_empty() {
            waiting = faults.to_vec();
        }
        let first = waiting.swap_remove(chaos.rng.random_range(0..waiting.len()));
        let mut together = vec![first];
        if chaos.rng.random_bool(0.3)
            && let Some(at) = waiting.iter().position(|other| other.goes_with(first))
        {
            together.push(waiting.swap_remove(at));
        }
        let time = chaos.random_ms(200, 3000);
        chaos.during_all(&together, time);
        let calm = chaos.random_ms(100, 1500);
        chaos.pass(calm);
    }
    let report = chaos.finish(Bounds::default());
    assert!(report.total().accepted > 0, "nothing was accepted at all");
}
