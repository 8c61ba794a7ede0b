//! From consumers for each priority, which older versions have, to those for each model.

use std::collections::HashMap;

use async_nats::jetstream::{self, consumer::pull};
use domain::{Job, ModelName, Priority, TaskId};
use futures_util::StreamExt;
use messaging::{FinishOutcome, Messaging, MessagingConfig, Role, Settlement};
use testkit::NatsServer;
use tokio::time::timeout;

use crate::fixture::{Fixture, TIMEOUT, failure, job_for, next, success};

/// The consumers of the version before this one, and of the one before priorities.
const OLDER: [&[(&str, &str)]; 2] = [
    &[("worker", "jobs.*.*"), ("worker_high", "jobs.*.*.high"), ("worker_low", "jobs.*.*.low")],
    &[("worker", "")],
];

const MODELS: [&str; 2] = ["yolov8n", "other"];

fn models() -> [ModelName; 2] {
    MODELS.map(|model| model.parse().unwrap())
}

/// A queue as an older version has provisioned it.
async fn older(consumers: &[(&str, &str)]) -> Fixture {
    let fixture = Fixture::start().await;
    let raw = fixture.raw().await;
    for priority in Priority::ALL {
        let name = format!("{priority}-yolov8n");
        raw.delete_consumer_from_stream(&name, "JOBS").await.unwrap();
    }
    create(&raw, consumers).await;
    fixture
}

async fn create(raw: &jetstream::Context, consumers: &[(&str, &str)]) {
    for (name, filter) in consumers {
        let config = pull::Config {
            durable_name: Some((*name).to_owned()),
            filter_subject: (*filter).to_owned(),
            ..pull::Config::default()
        };
        raw.create_consumer_on_stream(config, "JOBS").await.unwrap();
    }
}

impl Fixture {
    /// Takes a job as a worker of the older version does, and does not settle it.
    async fn take_as_older(&self, consumer: &str) -> jetstream::Message {
        let jobs = self.raw().await.get_stream("JOBS").await.unwrap();
        let consumer: jetstream::consumer::PullConsumer =
            jobs.get_consumer(consumer).await.unwrap();
        let mut batch = consumer.fetch().max_messages(1).messages().await.unwrap();
        timeout(TIMEOUT, batch.next()).await.unwrap().expect("a job is there").unwrap()
    }
}

#[tokio::test]
async fn an_upgrade_loses_no_job_and_each_gets_one_terminal_state() {
    for consumers in OLDER {
        let fixture = older(consumers).await;
        let mut submitted = HashMap::new();
        for model in MODELS {
            for priority in Priority::ALL {
                for _ in 0..2 {
                    let job = Job { priority, ..job_for(model) };
                    fixture.submit(&job).await;
                    submitted.insert(job.task_id, job);
                }
            }
        }
        // Two are with workers of the older version: one stores its result, and the other one is killed.
        let mut held = Vec::new();
        for _ in 0..2 {
            held.push(fixture.take_as_older("worker").await);
        }
        let provisioned = fixture.messaging.provision(models()).await.unwrap();
        assert!(provisioned.iter().any(|one| one.what == "consumer low-other"), "{provisioned:?}");
        let done = job_of(&held[0], &submitted);
        let tasks = fixture.messaging.tasks();
        assert_eq!(tasks.finish(&success(&done)).await.unwrap(), FinishOutcome::Stored);
        // Its consumer is gone: this reaches nobody.
        held[0].ack().await.unwrap();

        let mut stored_before = Vec::new();
        let mut deliveries = fixture.deliveries_of(&MODELS);
        for _ in 0..submitted.len() {
            let delivery = next(&mut deliveries, 1).await;
            let job = submitted.remove(&delivery.job.task_id).expect("each is delivered once");
            // Another result: the first one that was stored counts.
            if tasks.finish(&failure(&job)).await.unwrap() != FinishOutcome::Stored {
                stored_before.push(job.task_id);
            }
            delivery.settle(Settlement::Ack).await.unwrap();
        }
        assert_eq!((submitted.len(), stored_before), (0, vec![done.task_id]));
        assert_eq!(tasks.get(done.task_id).await.unwrap(), Some(success(&done)));
        fixture.depth_becomes((0, 0)).await;
    }
}

fn job_of(message: &jetstream::Message, submitted: &HashMap<TaskId, Job>) -> Job {
    let id = message.subject.split('.').nth(2).unwrap();
    submitted[&id.parse().unwrap()].clone()
}

/// During a rolling upgrade, workers of the older version create their consumers again.
#[tokio::test]
async fn many_processes_may_upgrade_at_once_while_an_older_one_resists() {
    let fixture = older(OLDER[0]).await;
    let url = fixture.server.url();
    let raw = fixture.raw().await;
    let resisting = tokio::spawn(async move {
        // As often as such a worker could in a second, and no more.
        for _ in 0..3 {
            let config = pull::Config {
                durable_name: Some("worker".to_owned()),
                filter_subject: "jobs.*.*".to_owned(),
                ..pull::Config::default()
            };
            let _ = raw.create_consumer_on_stream(config, "JOBS").await;
        }
    });
    let upgrading = (0..4).map(|_| {
        let config = MessagingConfig::new(url.parse().unwrap(), Role::Worker);
        tokio::spawn(
            async move { Messaging::connect(config).await.unwrap().provision(models()).await },
        )
    });
    let upgrading: Vec<_> = upgrading.collect();
    for one in upgrading {
        one.await.unwrap().unwrap();
    }
    resisting.await.unwrap();
    let mut deliveries = fixture.deliveries_of(&MODELS);
    for model in MODELS {
        fixture.submit(&job_for(model)).await;
        next(&mut deliveries, 1).await.settle(Settlement::Ack).await.unwrap();
    }
}

/// A server of a newer version has no place for the consumers of an older one.
#[tokio::test]
async fn a_rollback_needs_the_consumers_to_be_deleted() {
    let server = NatsServer::start();
    let fixture = Fixture::with(server, |_| {}).await;
    let raw = fixture.raw().await;
    let refused = raw
        .create_consumer_on_stream(
            pull::Config {
                durable_name: Some("worker".to_owned()),
                filter_subject: "jobs.*.*".to_owned(),
                ..pull::Config::default()
            },
            "JOBS",
        )
        .await;
    assert!(refused.is_err(), "a job would be delivered twice");
    // As docs/operations.md says.
    for priority in Priority::ALL {
        raw.delete_consumer_from_stream(&format!("{priority}-yolov8n"), "JOBS").await.unwrap();
    }
    create(&raw, OLDER[0]).await;
    fixture.submit(&job_for("yolov8n")).await;
    fixture.take_as_older("worker").await.double_ack().await.unwrap();
}
