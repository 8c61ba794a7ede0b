//! The faults of webhooks, and the control of their invariant.

use std::time::{Duration, Instant};

use messaging::{Messaging, MessagingConfig, Role};
use tokio::sync::mpsc;

use crate::{
    environment::Plan,
    faults::Fault,
    load::LoadPlan,
    scenario::Scenario,
    verdict::checker::{Bounds, Violation},
};

/// How long faults are injected.
const SPAN: Duration = Duration::from_secs(12);

fn load() -> LoadPlan {
    LoadPlan { callbacks: 0.8, ..LoadPlan::default() }
}

fn plan() -> Plan {
    Plan { workers: 2, ..Plan::default() }
}

#[test]
fn notifier_and_receiver_fail() {
    let mut scenario = Scenario::start("webhooks", plan(), load());
    let until = Instant::now() + SPAN;
    let mut faults = Fault::OF_WEBHOOKS.into_iter().cycle();
    while Instant::now() < until {
        let hold = scenario.random_ms(500, 3000);
        scenario.during(faults.next().expect("it is a cycle"), hold);
        let calm = scenario.random_ms(200, 1500);
        scenario.pass(calm);
    }
    let report = scenario.finish(Bounds::default());
    let taken = report.webhooks().taken;
    // How many are given up depends on how long the receiver happens to fail.
    assert!(taken > report.total().accepted / 10, "{taken} webhooks were taken");
}

/// The control: beside the notifier, another process acks webhooks that it does not deliver.
#[test]
fn a_notifier_that_acks_before_it_delivers_is_detected() {
    const STOLEN: usize = 3;
    let mut scenario = Scenario::start("control: webhooks acked first", plan(), load());
    let url = scenario.environment.nats.url();
    let rogue = scenario.load.runtime.spawn(async move {
        let config = MessagingConfig::new(url.parse().unwrap(), Role::Notifier);
        let messaging = Messaging::connect(config).await.expect("NATS");
        let deliveries = messaging.webhooks().deliveries();
        let mut stolen = 0;
        while stolen < STOLEN {
            let (due, mut taken) = mpsc::channel(1);
            deliveries.take(1, &due).await;
            if let Ok(delivery) = taken.try_recv() {
                delivery.delivered().await.expect("an ack");
                stolen += 1;
            }
        }
        messaging
    });
    while !rogue.is_finished() {
        scenario.pass(Duration::from_millis(100));
    }
    // Without its connection, the last ack may not have been sent, and that webhook is delivered.
    let _connection = scenario.load.runtime.block_on(rogue).expect("it did not panic");
    let (_, violations) = scenario.judge(Bounds::default());
    let is_loss = |found: &&Violation| matches!(found, Violation::WebhookLost(_));
    let lost = violations.iter().filter(is_loss).count();
    assert_eq!((lost, violations.len()), (STOLEN, STOLEN), "{violations:?}");
}
