//! Which workers get the jobs of which models.

use std::{collections::HashSet, time::Duration};

use async_nats::jetstream::consumer::PullConsumer;
use domain::{Job, ModelName, Priority, TaskId};
use futures_util::TryStreamExt;
use messaging::{Deliveries, Settlement};
use tokio::time::{sleep, timeout};

use crate::fixture::{A_WHILE, Fixture, NEVER, TIMEOUT, job_for, next, nothing_comes};

impl Fixture {
    async fn provision(&self, models: &[&str]) {
        let models: Vec<ModelName> = models.iter().map(|model| model.parse().unwrap()).collect();
        self.messaging.provision(models).await.unwrap();
    }

    async fn submit_for(&self, model: &str, count: usize) -> Vec<TaskId> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let job = job_for(model);
            self.submit(&job).await;
            ids.push(job.task_id);
        }
        ids
    }

    async fn consumers(&self) -> HashSet<String> {
        let jobs = self.raw().await.get_stream("JOBS").await.unwrap();
        jobs.consumer_names().try_collect().await.unwrap()
    }
}

/// How long a run takes where the worker has a backlog.
const RUN: Duration = Duration::from_millis(10);

/// Runs so many jobs; returns their models.
async fn run(deliveries: &mut Deliveries, jobs: usize) -> Vec<String> {
    let mut models = Vec::new();
    for _ in 0..jobs {
        let delivery = next(deliveries, 1).await;
        models.push(delivery.job.model.to_string());
        delivery.settle(Settlement::Ack).await.unwrap();
    }
    models
}

#[tokio::test]
async fn a_worker_gets_the_jobs_of_its_models_only() {
    let fixture = Fixture::start().await;
    fixture.provision(&["a", "b", "c"]).await;
    for model in ["a", "b", "c"] {
        fixture.submit_for(model, 2).await;
    }
    let mut of_two = fixture.deliveries_of(&["a", "b"]);
    let models: HashSet<_> = run(&mut of_two, 4).await.into_iter().collect();
    assert_eq!(models, HashSet::from(["a".to_owned(), "b".to_owned()]));
    nothing_comes(&mut of_two, A_WHILE).await;
    let report = fixture.messaging.queue().report().await.unwrap();
    let waiting: Vec<_> =
        report.by_model.iter().map(|(model, depth)| (model.as_str(), depth.waiting)).collect();
    assert_eq!(waiting, [("a", 0), ("b", 0), ("c", 2), ("yolov8n", 0)]);
    assert_eq!(run(&mut fixture.deliveries_of(&["c"]), 2).await, ["c", "c"]);
    fixture.depth_becomes((0, 0)).await;
}

#[tokio::test]
async fn an_idle_worker_gets_a_job_of_any_of_its_models_at_once() {
    let fixture = Fixture::start().await;
    fixture.provision(&["a", "b"]).await;
    let mut deliveries = fixture.deliveries_of(&["a", "b"]);
    for model in ["b", "a", "b", "b", "a"] {
        // It waits in all lanes by now.
        assert!(timeout(A_WHILE / 5, deliveries.next(2)).await.is_err());
        for priority in Priority::ALL {
            fixture.submit(&Job { priority, ..job_for(model) }).await;
            // Not only when a request expires, after half a minute.
            let delivery = timeout(TIMEOUT / 4, deliveries.next(2)).await.expect("it is delivered");
            assert_eq!((delivery.job.model.as_str(), delivery.job.priority), (model, priority));
            delivery.settle(Settlement::Ack).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_backlog_of_one_model_holds_up_no_other() {
    let fixture = Fixture::start().await;
    fixture.provision(&["a", "b"]).await;
    fixture.submit_for("a", 60).await;
    let mut deliveries = fixture.deliveries_of(&["a", "b"]);
    run(&mut deliveries, 10).await;
    fixture.submit_for("b", 10).await;
    // It may take a tenth of a second until the worker asks for jobs of a model that had none. From then on they take
    // turns.
    let mut before = 0;
    while run(&mut deliveries, 1).await != ["b"] {
        before += 1;
        sleep(RUN).await;
    }
    assert!(before < 40, "{before} others came first");
    let models = run(&mut deliveries, 18).await;
    assert_eq!(models.iter().filter(|model| *model == "b").count(), 9, "{models:?}");
}

#[tokio::test]
async fn the_models_of_a_worker_can_be_changed() {
    let fixture = Fixture::configured(|config| config.ack_wait = NEVER).await;
    fixture.provision(&["a", "b"]).await;
    let mut deliveries = fixture.deliveries_of(&["a"]);
    let models = |names: &[&str]| -> Vec<ModelName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    };
    fixture.submit_for("b", 1).await;
    nothing_comes(&mut deliveries, A_WHILE).await;
    // A job that is on its way when the models change is released, not lost.
    let [on_its_way] = fixture.submit_for("a", 1).await[..] else { panic!("one was submitted") };
    deliveries.serve(models(&["a", "b"]));
    let mut both = run(&mut deliveries, 2).await;
    both.sort();
    assert_eq!(both, ["a", "b"], "{on_its_way}");
    // A new model, whose consumers nobody has created.
    fixture.submit_for("c", 1).await;
    deliveries.serve(models(&["c", "a"]));
    assert_eq!(run(&mut deliveries, 1).await, ["c"]);
    let ids = fixture.submit_for("b", 1).await;
    nothing_comes(&mut deliveries, A_WHILE).await;
    deliveries.serve([]);
    fixture.submit_for("a", 1).await;
    nothing_comes(&mut deliveries, A_WHILE).await;
    deliveries.serve(models(&["b"]));
    assert_eq!(next(&mut deliveries, 1).await.job.task_id, ids[0]);
}

#[tokio::test]
async fn a_worker_creates_the_consumers_that_are_missing_while_others_go_on() {
    let fixture = Fixture::start().await;
    fixture.provision(&["a", "b"]).await;
    let mut deliveries = fixture.deliveries_of(&["a", "b"]);
    nothing_comes(&mut deliveries, A_WHILE / 5).await;
    let before = fixture.consumers().await;
    let raw = fixture.raw().await;
    for consumer in ["high-b", "normal-b", "low-b"] {
        raw.delete_consumer_from_stream(consumer, "JOBS").await.unwrap();
    }
    fixture.submit_for("a", 1).await;
    fixture.submit_for("b", 1).await;
    let mut models = run(&mut deliveries, 2).await;
    models.sort();
    assert_eq!(models, ["a", "b"]);
    assert_eq!(fixture.consumers().await, before);
}

#[tokio::test]
async fn provisioning_a_model_again_delivers_nothing_twice() {
    let fixture = Fixture::configured(|config| config.ack_wait = NEVER).await;
    fixture.provision(&["a"]).await;
    fixture.submit_for("a", 1).await;
    let mut deliveries = fixture.deliveries_of(&["a"]);
    let held = next(&mut deliveries, 1).await;
    // Every process that starts provisions the model.
    fixture.messaging.provision_consumers(&"a".parse().unwrap()).await.unwrap();
    nothing_comes(&mut fixture.deliveries_of(&["a"]), A_WHILE).await;
    held.settle(Settlement::Ack).await.unwrap();
    fixture.depth_becomes((0, 0)).await;
    let jobs = fixture.raw().await.get_stream("JOBS").await.unwrap();
    let consumer: PullConsumer = jobs.get_consumer("normal-a").await.unwrap();
    assert_eq!(consumer.cached_info().delivered.consumer_sequence, 1);
}
