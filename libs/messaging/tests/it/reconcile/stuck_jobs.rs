//! Jobs that the consumer does not deliver.

use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use domain::Job;
use messaging::{Deliveries, Settlement};
use testkit::eventually;

use crate::{
    fixture::{A_WHILE, Fixture, TIMEOUT, job, job_for, next, nothing_comes, picture, success},
    reconcile::rounds::{counts, nothing_found, round},
};

impl Fixture {
    /// Runs the job that comes next.
    async fn run_next(&self, deliveries: &mut Deliveries) -> Job {
        let delivery = next(deliveries, 1).await;
        let job = delivery.job.clone();
        self.messaging.tasks().finish(&success(&job)).await.unwrap();
        delivery.settle(Settlement::Ack).await.unwrap();
        job
    }

    async fn limit_deliveries(&self, max_deliver: i64) {
        let raw = self.raw().await;
        let jobs = raw.get_stream("JOBS").await.unwrap();
        let present = jobs.consumer_info("normal-yolov8n").await.unwrap().config;
        let config = pull::Config {
            durable_name: present.durable_name,
            description: present.description,
            filter_subject: present.filter_subject,
            ack_policy: present.ack_policy,
            ack_wait: present.ack_wait,
            max_ack_pending: present.max_ack_pending,
            max_waiting: present.max_waiting,
            max_deliver,
            ..pull::Config::default()
        };
        raw.create_consumer_on_stream(config, "JOBS").await.unwrap();
    }
}

#[tokio::test]
async fn stuck_jobs_are_delivered_again() {
    let fixture = Fixture::configured(|config| config.ack_wait = Duration::from_secs(1)).await;
    for do_others_go_on in [false, true] {
        let (stuck, other) = (job(), job());
        for job in [&stuck, &other] {
            fixture.accept(job, picture()).await;
        }
        fixture.limit_deliveries(1).await;
        let mut deliveries = fixture.deliveries();
        assert_eq!(next(&mut deliveries, 1).await.job, stuck);
        eventually(TIMEOUT, async || (fixture.depth().await == (1, 0)).then_some(())).await;
        fixture.limit_deliveries(-1).await;
        if do_others_go_on {
            assert_eq!(fixture.run_next(&mut deliveries).await, other);
            // This is what the repair is for: it is there, and it does not come.
            nothing_comes(&mut deliveries, A_WHILE).await;
        }
        let mut reconciler = fixture.messaging.reconciler();
        assert_eq!(counts(round(&mut reconciler).await), [("stuck_jobs", 1, 0)]);
        assert_eq!(counts(round(&mut reconciler).await), [("stuck_jobs", 0, 1)]);
        assert_eq!(fixture.run_next(&mut deliveries).await, stuck);
        if !do_others_go_on {
            assert_eq!(fixture.run_next(&mut deliveries).await, other);
        }
        deliveries.stop().await;
        assert_eq!(round(&mut reconciler).await, nothing_found());
        fixture.depth_becomes((0, 0)).await;
    }
}

#[tokio::test]
async fn jobs_of_a_model_without_consumers_get_them() {
    let fixture = Fixture::start().await;
    let job = job_for("other");
    fixture.accept(&job, picture()).await;
    assert_eq!(fixture.depth().await, (0, 0), "no consumer has it");
    let mut reconciler = fixture.messaging.reconciler();
    assert_eq!(counts(round(&mut reconciler).await), [("stuck_jobs", 0, 1)]);
    assert_eq!(fixture.depth().await, (1, 0));
    // Nobody serves the model, which is no discrepancy.
    assert_eq!(round(&mut reconciler).await, nothing_found());
    assert_eq!(next(&mut fixture.deliveries_of(&["other"]), 1).await.job, job);
}

#[tokio::test]
async fn a_consumer_that_is_gone_is_made_again() {
    let fixture = Fixture::start().await;
    let job = job();
    fixture.accept(&job, picture()).await;
    let jobs = fixture.raw().await.get_stream("JOBS").await.unwrap();
    jobs.delete_consumer("normal-yolov8n").await.unwrap();
    let mut reconciler = fixture.messaging.reconciler();
    assert_eq!(counts(round(&mut reconciler).await), [("stuck_jobs", 0, 1)]);
    assert_eq!(round(&mut reconciler).await, nothing_found());
    assert_eq!(next(&mut fixture.deliveries(), 1).await.job, job);
}
