//! The users of `deploy/nats/permissions.conf`: each can do what its part of the system needs, and
//! nothing else.

use std::time::Duration;

use async_nats::{ConnectOptions, Event, ServerError};
use bytes::Bytes;
use domain::{
    BatchItem, DrawingFormat, ItemOutcome, Job, LabelMap, ModelName, Sha256Digest, TaskRecord,
};
use futures_util::TryStreamExt;
use messaging::{
    ApiKeyChange, ApiStatus, BatchChange, Claimed, CloudEvent, DeadLetterId, DescribedInput,
    Discrepancy, ListQuery, Messaging, MessagingConfig, MessagingError, ModelDescription,
    ModelReport, PartStatus, ProcessIdentity, ProvisionOutcome, Role, RunStart, Settlement,
    ShadowJob, WorkerStatus,
};
use testkit::{NatsServer, eventually};
use time::OffsetDateTime;
use tokio::{sync::mpsc, time::timeout};

use crate::batches::{batch, refusal};
use crate::fixture::{
    LEASE, TIMEOUT, begin, failure, job, large_picture, next, picture, submission, success,
    terminal,
};
use crate::{
    coordination::api_keys::api_key,
    shadow_jobs::{comparison, next_shadow_job, shadow_model},
    webhooks::{Taking, with_callback},
};

fn start() -> NatsServer {
    NatsServer::builder().roles().start()
}

fn config(server: &NatsServer, role: Role) -> MessagingConfig {
    let user = match role {
        Role::Api => "api",
        Role::Worker => "worker",
        Role::Setup => "setup",
        Role::Notifier => "notifier",
        Role::Cli => "operator",
    };
    MessagingConfig::new(server.url_as(user).parse().unwrap(), role)
}

async fn connect(server: &NatsServer, role: Role) -> Messaging {
    Messaging::connect(config(server, role)).await.unwrap()
}

/// A client as anybody can write one, with a role's login.
async fn raw(server: &NatsServer, role: &str, options: ConnectOptions) -> async_nats::Client {
    let options = options.user_and_password(role.to_owned(), server.password(role));
    options.connect(server.url()).await.unwrap()
}

async fn set_up(server: &NatsServer) -> Messaging {
    let setup = connect(server, Role::Setup).await;
    let arranged = setup.provision([ModelName::default()]).await.unwrap();
    assert!(arranged.iter().all(|one| one.outcome == ProvisionOutcome::Created), "{arranged:?}");
    setup
}

#[tokio::test]
async fn the_whole_way_of_a_picture_is_permitted() {
    let server = start();
    let setup = set_up(&server).await;
    let again = setup.provision([ModelName::default()]).await.unwrap();
    assert!(again.iter().all(|one| one.outcome == ProvisionOutcome::Unchanged), "{again:?}");
    assert_eq!(setup.free_stuck_jobs().await.unwrap(), 0);
    let (api, worker) = (connect(&server, Role::Api).await, connect(&server, Role::Worker).await);
    assert_eq!(api.provision([ModelName::default()]).await.unwrap(), again);
    assert_eq!(worker.provision([ModelName::default()]).await.unwrap(), again);

    let mut cancellations = worker.queue().cancellations().await.unwrap();
    server.wait_until_subscribed("cancels.*").await;
    let cancelled = job();
    api.queue().submit(&cancelled, large_picture(3 << 20)).await.unwrap();
    api.queue().cancel(&cancelled).await.unwrap();
    assert_eq!(timeout(TIMEOUT, cancellations.next()).await.unwrap(), Some(cancelled.task_id));
    assert_eq!(server.stream("OBJ_pictures").unwrap().messages, 0);

    let mut deliveries = worker.queue().deliveries([ModelName::default()]);
    for picture in [picture(), large_picture(3 << 20)] {
        let job = job();
        api.queue().submit(&job, picture.clone()).await.unwrap();
        api.tasks().create_queued(&TaskRecord::queued(job.clone())).await.unwrap();
        let waiting = {
            let (tasks, id) = (api.tasks(), job.task_id);
            tokio::spawn(async move { terminal(&tasks, id).await })
        };
        let (_, mut changes) = api.tasks().follow(job.task_id).await.unwrap().unwrap();
        server.wait_until_subscribed(&format!("starts.{}", job.task_id)).await;
        let delivery = next(&mut deliveries, 1).await;
        let run = RunStart::now(&job, 1).record(None, LEASE);
        worker.tasks().announce_first_run(&run).await;
        while timeout(TIMEOUT, changes.next()).await.unwrap().unwrap().record != run {}
        let _kept = delivery.keep_alive();
        assert_eq!(delivery.picture().await.unwrap(), picture);
        begin(&worker.tasks(), &job).await;
        drawings_are_permitted(&server, &api, &worker, &job).await;
        worker.tasks().finish(&success(&job)).await.unwrap();
        delivery.settle(Settlement::Ack).await.unwrap();
        assert_eq!(waiting.await.unwrap(), success(&job));
    }
    let report = api.queue().report().await.unwrap();
    assert_eq!((report.depth.waiting, report.depth.in_progress), (0, 0));
    nothing_was_denied(&server).await;
}

/// A worker stores a drawing that the API reads, and deletes another one.
async fn drawings_are_permitted(
    server: &NatsServer,
    api: &Messaging,
    worker: &Messaging,
    job: &Job,
) {
    let (file, stored) = (large_picture(300_000), || server.stream("DRAWINGS").unwrap().messages);
    let before = stored();
    let drawings = worker.drawings();
    let put = || drawings.put(job.task_id, DrawingFormat::Jpeg, file.clone());
    let (kept, other) = (put().await.unwrap(), put().await.unwrap());
    let drawing = kept.drawing();
    kept.keep();
    drop(other);
    eventually(TIMEOUT, async || (stored() == before + 3).then_some(())).await;
    let read: Vec<Bytes> = api.drawings().read(job.task_id, drawing).try_collect().await.unwrap();
    assert_eq!(read.concat(), file);
}

#[tokio::test]
async fn the_whole_way_of_a_batch_is_permitted() {
    let server = start();
    set_up(&server).await;
    let (api, worker) = (connect(&server, Role::Api).await, connect(&server, Role::Worker).await);
    let batches = api.batches();
    let record = batch();
    let batch_id = record.batch_id;
    let revision = batches.create(&record).await.unwrap().unwrap();
    let mut changes = batches.follow(batch_id).await.unwrap();
    server.wait_until_subscribed(&format!("batch_records.{batch_id}.>")).await;
    let job =
        Job { task_id: batch_id.item(0), batch: Some(BatchItem { batch_id, index: 0 }), ..job() };
    worker.tasks().finish(&success(&job)).await.unwrap();
    let expected = BatchChange::Outcome(0, ItemOutcome::Succeeded);
    assert_eq!(timeout(TIMEOUT, changes.next()).await.unwrap(), expected);
    let item = BatchItem { batch_id, index: 1 };
    batches.note_refused(item, &refusal()).await.unwrap();
    assert_eq!(batches.refusal(item).await.unwrap(), Some(refusal()));
    batches.forget_refusal(item).await.unwrap();
    assert_eq!(batches.outcomes(batch_id).await.unwrap().counts(2).succeeded, 1);
    assert!(batches.update(&record, revision).await.unwrap().is_some());
    assert_eq!(batches.open().await.unwrap(), [batch_id]);
    batches.close(batch_id).await.unwrap();
    nothing_was_denied(&server).await;
}

#[tokio::test]
async fn giving_up_and_running_again_is_permitted() {
    let server = start();
    set_up(&server).await;
    let (api, worker) = (connect(&server, Role::Api).await, connect(&server, Role::Worker).await);
    let operator = connect(&server, Role::Cli).await;
    let mut deliveries = worker.queue().deliveries([ModelName::default()]);
    let pictures = [picture(), large_picture(3 << 20)];
    let each =
        [&operator, &api].into_iter().flat_map(|reader| pictures.clone().map(|one| (reader, one)));
    for (reader, picture) in each {
        let job = job();
        api.queue().submit(&job, picture.clone()).await.unwrap();
        let delivery = next(&mut deliveries, 1).await;
        worker.tasks().finish(&failure(&job)).await.unwrap();
        delivery.settle(Settlement::Reject { reason: "poison".to_owned() }).await.unwrap();

        let letters = reader.dead_letters();
        let letter = letters.get(DeadLetterId::Task(job.task_id)).await.unwrap().unwrap();
        assert_eq!(letters.list_after(0).await.unwrap(), std::slice::from_ref(&letter));
        assert_eq!(letters.picture(&letter).await.unwrap(), Some(picture.clone()));
        assert_eq!(reader.tasks().get(job.task_id).await.unwrap(), Some(failure(&job)));
        let new = letters.requeue(&letter).await.unwrap();
        assert_eq!(letters.list_after(0).await.unwrap(), []);
        let delivery = next(&mut deliveries, 1).await;
        assert_eq!((delivery.job.task_id, delivery.picture().await.unwrap()), (new, picture));
        worker.tasks().finish(&success(&delivery.job)).await.unwrap();
        delivery.settle(Settlement::Ack).await.unwrap();
    }
    // In a cluster, what a replica does not know is asked of the leader.
    for role in [Role::Api, Role::Cli] {
        let config = MessagingConfig { replicas: 3, ..config(&server, role) };
        let in_cluster = Messaging::connect(config).await.unwrap();
        assert_eq!(in_cluster.tasks().get(job().task_id).await.unwrap(), None);
    }
    nothing_was_denied(&server).await;
}

#[tokio::test]
async fn events_are_permitted() {
    let server = start();
    let connect = async |role| {
        let config = MessagingConfig { cloud_events: true, ..config(&server, role) };
        Messaging::connect(config).await.unwrap()
    };
    connect(Role::Setup).await.provision([ModelName::default()]).await.unwrap();
    let (worker, notifier) = (connect(Role::Worker).await, connect(Role::Notifier).await);
    notifier.provision([]).await.unwrap();
    let ended = success(&job());
    worker.tasks().finish(&ended).await.unwrap();
    let delivery = Taking::start(&notifier).next().await;
    assert_eq!(
        delivery.ended,
        ended.clone().into(),
        "there is no callback, and yet it is published"
    );
    let (kind, time) = ("task.success".to_owned(), ended.state.finished_at().unwrap());
    let event = CloudEvent::of(&delivery.ended, kind, time, Bytes::from_static(b"{}"));
    let events = notifier.cloud_events().unwrap();
    for _ in 0..2 {
        events.publish(event.clone()).await.unwrap();
    }
    assert_eq!(server.stream("EVENTS").unwrap().messages, 1, "an event is stored once");
    delivery.delivered().await.unwrap();
    nothing_was_denied(&server).await;
}

#[tokio::test]
async fn shadow_runs_are_permitted() {
    let server = start();
    let setup = set_up(&server).await;
    let model = shadow_model();
    for expected in [ProvisionOutcome::Created, ProvisionOutcome::Unchanged] {
        let arranged = setup.provision_shadow(&model).await.unwrap();
        assert_eq!(arranged.len(), 3, "{arranged:?}");
        assert!(arranged.iter().all(|one| one.outcome == expected), "{arranged:?}");
    }
    let worker = connect(&server, Role::Worker).await;
    let task_id = job().task_id;
    worker.shadow_jobs().publish(&model, task_id, picture()).await.unwrap();
    let mut deliveries = worker.shadow_jobs().deliveries(model);
    assert_eq!(next_shadow_job(&mut deliveries).await, ShadowJob { task_id, picture: picture() });
    let compared = comparison("yolov8n", "yolo11n");
    worker.comparisons().store(&compared).await.unwrap();
    let operator = connect(&server, Role::Cli).await;
    let stored = operator.comparisons().of(&compared.a.model, &compared.b.model).await.unwrap();
    assert_eq!(stored, [compared]);
    eventually(TIMEOUT, async || {
        (server.stream("SHADOW_JOBS").unwrap().messages == 0).then_some(())
    })
    .await;
    nothing_was_denied(&server).await;
}

#[tokio::test]
async fn webhooks_are_permitted() {
    let server = start();
    set_up(&server).await;
    let (api, worker) = (connect(&server, Role::Api).await, connect(&server, Role::Worker).await);
    let notifier = connect(&server, Role::Notifier).await;
    notifier.provision([]).await.unwrap();
    let mut taking = Taking::start(&notifier);
    let (of_api, of_worker) = (success(&with_callback()), success(&with_callback()));
    api.tasks().finish(&of_api).await.unwrap();
    taking.next().await.delivered().await.unwrap();
    worker.tasks().finish(&of_worker).await.unwrap();
    let delivery = taking.next().await;
    delivery.retry(Duration::ZERO).await.unwrap();
    taking.next().await.give_up("gone").await.unwrap();
    for reader in [connect(&server, Role::Cli).await, api.clone()] {
        let dead = reader.dead_webhooks();
        let given_up = dead.list_after(0).await.unwrap();
        assert_eq!(given_up.len(), 1);
        dead.replay(&given_up[0]).await.unwrap();
        let replayed = taking.next().await;
        assert_eq!(replayed.ended, of_worker.clone().into());
        replayed.give_up("gone").await.unwrap();
    }

    let mut lost = with_callback();
    lost.deadline = Some(lost.submitted_at - time::Duration::SECOND);
    api.tasks().create_queued(&TaskRecord::queued(lost.clone())).await.unwrap();
    api.reconciler().round().await.unwrap();
    assert_eq!(taking.next().await.ended.id(), lost.task_id);
    nothing_was_denied(&server).await;
}

#[tokio::test]
async fn what_one_api_does_for_all_is_permitted() {
    let server = start();
    set_up(&server).await;
    let (api, worker) = (connect(&server, Role::Api).await, connect(&server, Role::Worker).await);
    let mut lease = api.lease("reconciler");
    assert!(lease.try_hold().await.unwrap() && lease.try_hold().await.unwrap());
    let other = connect(&server, Role::Api).await;
    assert!(!other.lease("reconciler").try_hold().await.unwrap());
    let (key, first, second) = (Sha256Digest::of("key"), job().task_id, job().task_id);
    for task_id in [first, second] {
        let claimed = api.idempotency_keys().claim(key, task_id, &submission("bus.jpg")).await;
        assert_eq!(claimed.unwrap(), Claimed::Task(first));
    }

    // One that is past its deadline, with its job and a large picture still there.
    let mut overdue = job();
    overdue.deadline = Some(overdue.submitted_at + time::Duration::seconds(1));
    api.queue().submit(&overdue, large_picture(2 << 20)).await.unwrap();
    api.tasks().create_queued(&TaskRecord::queued(overdue.clone())).await.unwrap();
    let findings = api.reconciler().round().await.unwrap();
    assert_eq!(findings.repaired(Discrepancy::Overdue), 1);
    assert_eq!(server.stream("OBJ_pictures").unwrap().messages, 0);
    assert_eq!(server.stream("JOBS").unwrap().messages, 0);
    lease.release().await.unwrap();
    let query = ListQuery { limit: 5, ..ListQuery::default() };
    let page = api.task_index(5).page(&api.tasks(), &query).await.unwrap();
    assert_eq!(page.records.len(), 1, "{page:?}");

    let model = overdue.model;
    let digest: Sha256Digest = "0".repeat(64).parse().unwrap();
    let (heartbeats, report) = (worker.heartbeats().of_worker(), ModelReport::of_version(digest));
    heartbeats.renew(&model, &report).await.unwrap();
    let (sender, mut events) = mpsc::unbounded_channel();
    let following = tokio::spawn(async move {
        api.heartbeats()
            .follow(|one| {
                let _ = sender.send(one.report);
            })
            .await
    });
    assert_eq!(timeout(TIMEOUT, events.recv()).await.unwrap(), Some(Some(report)));
    heartbeats.withdraw(&model).await.unwrap();
    assert_eq!(timeout(TIMEOUT, events.recv()).await.unwrap(), Some(None));
    following.abort();
    let description = ModelDescription {
        model_digest: digest,
        head: "yolov8-cut".to_owned(),
        input: DescribedInput::LongSide(640),
        labels: LabelMap::new(vec!["person".to_owned()]),
        license: "unknown".to_owned(),
        producer: "unknown".to_owned(),
        source_sha256: digest,
        stored_at: OffsetDateTime::UNIX_EPOCH,
    };
    worker.model_descriptions().store(&model, &description).await.unwrap();
    let list = connect(&server, Role::Api).await.model_descriptions().list().await.unwrap();
    assert_eq!(list.get(&model), Some(&description));
    nothing_was_denied(&server).await;
}

#[tokio::test]
async fn those_who_wait_and_follow_go_on_after_the_server_has_gone() {
    let mut server = start();
    set_up(&server).await;
    let (api, worker) = (connect(&server, Role::Api).await, connect(&server, Role::Worker).await);
    let (waited_for, other) = (job(), job());
    for job in [&waited_for, &other] {
        api.tasks().create_queued(&TaskRecord::queued(job.clone())).await.unwrap();
    }
    let (sender, mut events) = mpsc::unbounded_channel();
    let following = api.heartbeats();
    // As the API does: a watch that ends is started again.
    let following = tokio::spawn(async move {
        loop {
            let _ = following
                .follow(|_| {
                    let _ = sender.send(());
                })
                .await;
        }
    });
    let (tasks, id) = (api.tasks(), waited_for.task_id);
    let waiting = tokio::spawn(async move { terminal(&tasks, id).await });
    eventually(TIMEOUT, async || {
        let is_followed = server.stream("KV_models").is_some_and(|stream| stream.consumers > 0);
        (is_followed && server.is_subscribed_to(&format!("records.{id}"))).then_some(())
    })
    .await;

    // What these two made on the server is gone with it.
    server.restart();
    worker.tasks().finish(&success(&waited_for)).await.unwrap();
    let digest: Sha256Digest = "0".repeat(64).parse().unwrap();
    let heartbeats = worker.heartbeats().of_worker();
    heartbeats.renew(&other.model, &ModelReport::of_version(digest)).await.unwrap();
    assert_eq!(waiting.await.unwrap(), success(&waited_for));
    assert_eq!(timeout(TIMEOUT, events.recv()).await.unwrap(), Some(()));
    following.abort();
    nothing_was_denied(&server).await;
}

#[tokio::test]
async fn creating_watching_and_revoking_keys_is_permitted() {
    let server = start();
    set_up(&server).await;
    let (api, operator) = (connect(&server, Role::Api).await, connect(&server, Role::Cli).await);
    let (keys, (key, _)) = (operator.api_keys(), api_key());
    let (sender, mut changes) = mpsc::unbounded_channel();
    let following = api.api_keys();
    let following =
        tokio::spawn(async move { following.follow(|change| drop(sender.send(change))).await });
    let mut next = async || timeout(TIMEOUT, changes.recv()).await.unwrap();
    assert_eq!(next().await, Some(ApiKeyChange::All(Vec::new())));
    keys.create(&key).await.unwrap();
    assert_eq!(next().await, Some(ApiKeyChange::Added(Box::new(key.clone()))));
    assert_eq!(api.api_keys().list().await.unwrap(), std::slice::from_ref(&key));
    assert_eq!(keys.revoke(key.id).await.unwrap(), Some(key.clone()));
    assert_eq!(next().await, Some(ApiKeyChange::Removed(key.id)));
    assert_eq!(keys.list().await.unwrap(), []);
    following.abort();
    nothing_was_denied(&server).await;
}

#[tokio::test]
async fn asking_all_processes_for_their_status_is_permitted() {
    let server = start();
    set_up(&server).await;
    let (api, worker) = (connect(&server, Role::Api).await, connect(&server, Role::Worker).await);
    let parts = [
        (&api, PartStatus::Api(ApiStatus::default())),
        (&worker, PartStatus::Worker(WorkerStatus::default())),
    ];
    for (messaging, part) in parts {
        let process = ProcessIdentity::new("one".to_owned(), "1.0");
        let requests = messaging.status_requests(process).await.unwrap();
        tokio::spawn(requests.answer(move || part.clone()));
    }
    eventually(TIMEOUT, async || (server.subscribers("status.requests") == 2).then_some(())).await;
    let asker = ProcessIdentity::new("asker".to_owned(), "1.0");
    let mut survey = api.status_survey(&asker).await.unwrap();
    survey.ask().await.unwrap();
    for _ in 0..2 {
        timeout(TIMEOUT, survey.next()).await.unwrap().unwrap();
    }
    nothing_was_denied(&server).await;
}

#[tokio::test]
async fn finding_out_whether_the_server_stores_is_permitted() {
    let server = start();
    set_up(&server).await;
    for (role, markers) in
        [(Role::Worker, &["KV_tasks"][..]), (Role::Api, &["KV_tasks", "KV_idempotency"])]
    {
        let messaging = connect(&server, role).await;
        let watching = messaging.clone();
        let watching = tokio::spawn(async move { watching.watch_writes().await });
        for stream in markers {
            let probed = || server.stream(stream).is_some_and(|stream| stream.messages == 1);
            eventually(TIMEOUT, async || probed().then_some(())).await;
        }
        assert_eq!(messaging.obstacle(), None);
        watching.abort();
    }
    nothing_was_denied(&server).await;
}

/// The server writes every denial into its log, one after another. Only where one that is made now can be
/// read there, those before it could be read as well.
async fn nothing_was_denied(server: &NatsServer) {
    const NOW: &str = "records.now";
    let client = raw(server, "worker", ConnectOptions::new()).await;
    client.publish(NOW, Bytes::new()).await.unwrap();
    let denied = eventually(TIMEOUT, async || {
        let transcript = server.transcript();
        let lines = transcript.lines().filter(|line| line.contains("Violation"));
        let denied: Vec<_> = lines.map(str::to_owned).collect();
        denied.last().is_some_and(|line| line.contains(NOW)).then_some(denied)
    })
    .await;
    assert_eq!(denied.len(), 1, "{denied:#?}");
}

/// A request with a role's credentials.
#[derive(Debug, Clone, Copy)]
enum Try {
    Publish(&'static str),
    Subscribe(&'static str),
}

use Try::{Publish, Subscribe};

const DENIED: [(&str, &[Try]); 6] = [
    (
        "api",
        &[
            // Taking a job, in whatever way.
            Publish("$JS.API.CONSUMER.MSG.NEXT.JOBS.normal-yolov8n"),
            Publish("$JS.ACK.JOBS.normal-yolov8n.1.1.1.1.1"),
            Publish("$JS.API.CONSUMER.CREATE.JOBS"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.JOBS.high-yolov8n"),
            Publish("$JS.ACK.JOBS.low-yolov8n.1.1.1.1.1"),
            Publish("$JS.API.CONSUMER.CREATE.JOBS.normal-yolov8n"),
            Publish("$JS.API.CONSUMER.CREATE.JOBS.high-yolov8n.jobs.yolov8n.y.high"),
            Publish("jobs.yolov8n.00000000-0000-7000-8000-000000000000.urgent"),
            Publish("$JS.API.CONSUMER.DURABLE.CREATE.JOBS.normal-yolov8n"),
            Publish("$JS.API.CONSUMER.DELETE.JOBS.normal-yolov8n"),
            Publish("$JS.API.CONSUMER.LIST.JOBS"),
            Publish("$JS.API.CONSUMER.NAMES.KV_keys"),
            Subscribe("jobs.>"),
            // What streams there are.
            Publish("$JS.API.STREAM.CREATE.OTHER"),
            Publish("$JS.API.STREAM.UPDATE.JOBS"),
            Publish("$JS.API.STREAM.DELETE.JOBS"),
            Publish("$JS.API.STREAM.PURGE.KV_tasks"),
            // What is the worker's to say.
            Publish("dlq.unreadable"),
            Publish("$KV.models.yolov8n.another"),
            // Who may use the API.
            Publish("$KV.keys.000000000001"),
            Publish("$JS.API.STREAM.PURGE.KV_keys"),
            Publish("$JS.API.STREAM.DELETE.KV_batches"),
            Publish("$JS.API.CONSUMER.CREATE.KV_batches"),
            Publish("batch_records.x.head"),
            Publish("drawings.00000000-0000-7000-8000-000000000000.0.0"),
            Publish("$JS.API.STREAM.PURGE.DRAWINGS"),
            Publish("$JS.API.CONSUMER.CREATE.DRAWINGS"),
            // All dead letters at once.
            Publish("$JS.API.STREAM.PURGE.DLQ"),
            Publish("$JS.API.STREAM.PURGE.WEBHOOKS_DLQ"),
            Publish("$JS.API.STREAM.DELETE.DLQ"),
            Publish("webhooks_dlq.x"),
            Subscribe("_INBOX_worker.>"),
            Subscribe(">"),
            Publish("starts.00000000-0000-7000-8000-000000000000"),
            Publish("shadow_jobs.yolo11n.00000000-0000-7000-8000-000000000000"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.SHADOW_JOBS.shadow-yolo11n"),
            Publish("model_comparisons.a.b.00000000-0000-7000-8000-000000000000"),
            // What only the server says.
            Publish("records.00000000-0000-7000-8000-000000000000"),
        ],
    ),
    (
        "notifier",
        &[
            Publish("jobs.yolov8n.00000000-0000-7000-8000-000000000000"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.JOBS.normal-yolov8n"),
            Publish("$JS.ACK.JOBS.normal-yolov8n.1.1.1.1.1"),
            Publish("$JS.API.CONSUMER.INFO.JOBS.normal-yolov8n"),
            Publish("$KV.tasks.key"),
            Publish("$KV.idempotency.key"),
            Publish("$KV.keys.000000000001"),
            Publish("$JS.API.CONSUMER.CREATE.KV_keys"),
            Publish("$JS.API.STREAM.MSG.GET.KV_keys"),
            Publish("$KV.batches.x.head"),
            Publish("$KV.batches.x.0.failed"),
            Publish("$JS.API.STREAM.MSG.GET.JOBS"),
            Publish("$JS.API.STREAM.MSG.GET.OBJ_pictures"),
            Publish("$JS.API.CONSUMER.CREATE.WEBHOOKS.notifier"),
            Publish("$JS.API.STREAM.PURGE.WEBHOOKS"),
            Publish("$JS.API.STREAM.DELETE.WEBHOOKS"),
            Publish("dlq.unreadable"),
            Publish("cancels.x"),
            Publish("status.requests"),
            Publish("status.answers.x"),
            Subscribe("status.>"),
            Publish("shadow_jobs.yolo11n.x"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.SHADOW_JOBS.shadow-yolo11n"),
            Publish("$JS.API.CONSUMER.CREATE.MODEL_COMPARISONS"),
            Subscribe("records.>"),
            Subscribe("webhooks.>"),
            Subscribe(">"),
        ],
    ),
    (
        "worker",
        &[
            Publish("$JS.API.CONSUMER.MSG.NEXT.WEBHOOKS.notifier"),
            Publish("$JS.ACK.WEBHOOKS.notifier.1.1.1.1.1"),
            Publish("webhooks_dlq.x"),
            Publish("events.task.success.x"),
            Publish("records.00000000-0000-7000-8000-000000000000"),
            Subscribe("records.>"),
            Subscribe("starts.>"),
            // Only an API asks for the status of others, and sees it.
            Publish("status.requests"),
            Subscribe("status.answers.*"),
            Publish("jobs.yolov8n.00000000-0000-7000-8000-000000000000"),
            Publish("jobs.yolov8n.00000000-0000-7000-8000-000000000000.high"),
            Publish("jobs.x"),
            Publish("$O.pictures.C.another"),
            Publish("$KV.idempotency.key"),
            Publish("$KV.keys.000000000001"),
            Publish("$JS.API.CONSUMER.CREATE.KV_keys"),
            Publish("$JS.API.STREAM.MSG.GET.KV_keys"),
            Publish("$KV.leases.reconciler"),
            Publish("$KV.batches.x.head"),
            Publish("$KV.batches.x.open"),
            Publish("$JS.API.STREAM.MSG.GET.KV_batches"),
            Publish("$JS.API.STREAM.PURGE.KV_batches"),
            Subscribe("batch_records.>"),
            Publish("_INBOX_api.another"),
            Publish("$JS.API.STREAM.CREATE.OTHER"),
            Publish("$JS.API.STREAM.UPDATE.JOBS"),
            Publish("$JS.API.STREAM.DELETE.JOBS"),
            Publish("$JS.API.STREAM.PURGE.JOBS"),
            Publish("$JS.API.STREAM.PURGE.KV_tasks"),
            Publish("$JS.API.STREAM.MSG.DELETE.JOBS"),
            Publish("$JS.API.STREAM.MSG.GET.JOBS"),
            Publish("$JS.API.STREAM.MSG.GET.KV_idempotency"),
            Publish("$JS.API.STREAM.MSG.GET.DRAWINGS"),
            Publish("drawings.x"),
            // A consumer could deliver shadow jobs as jobs.
            Publish("$JS.API.CONSUMER.CREATE.SHADOW_JOBS"),
            Publish("$JS.API.CONSUMER.CREATE.SHADOW_JOBS.shadow-x.shadow_jobs.x.y"),
            Publish("$JS.API.CONSUMER.CREATE.MODEL_COMPARISONS"),
            Publish("$JS.API.STREAM.CREATE.SHADOW_JOBS"),
            Publish("$JS.API.STREAM.PURGE.SHADOW_JOBS"),
            Publish("$JS.API.STREAM.RESTORE.JOBS"),
            Publish("$JS.API.STREAM.SNAPSHOT.JOBS"),
            Publish("$JS.API.CONSUMER.CREATE.JOBS.normal-yolov8n"),
            Publish("$JS.API.CONSUMER.CREATE.JOBS.normal-yolov8n.jobs.yolov8n.y"),
            Publish("$JS.API.CONSUMER.DELETE.JOBS.normal-yolov8n"),
            Publish("$JS.API.CONSUMER.DELETE.JOBS.high-yolov8n"),
            Publish("$JS.API.CONSUMER.NAMES.JOBS"),
            Publish("$JS.API.CONSUMER.CREATE.KV_tasks"),
            Subscribe("_INBOX_api.>"),
            Subscribe("_INBOX_worker"),
            Subscribe("_INBOX.>"),
            Subscribe("$KV.tasks.>"),
            Subscribe("$SYS.>"),
            Subscribe(">"),
        ],
    ),
    (
        "setup",
        &[
            Publish("jobs.yolov8n.00000000-0000-7000-8000-000000000000"),
            Publish("$KV.tasks.00000000-0000-7000-8000-000000000000"),
            Publish("$JS.API.STREAM.CREATE.OTHER"),
            Publish("$JS.API.STREAM.DELETE.JOBS"),
            Publish("$JS.API.STREAM.PURGE.JOBS"),
            Publish("$JS.API.STREAM.MSG.GET.KV_tasks"),
            Publish("$JS.API.DIRECT.GET.KV_tasks.$KV.tasks.x"),
            Publish("$JS.API.CONSUMER.CREATE.KV_tasks"),
            Publish("$KV.keys.000000000001"),
            Publish("$JS.API.CONSUMER.CREATE.KV_keys"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.JOBS.normal-yolov8n"),
            Publish("$JS.ACK.JOBS.normal-yolov8n.1.1.1.1.1"),
            // A consumer without a filter would get the jobs of all models, and one without a name be nobody's.
            Publish("$JS.API.CONSUMER.CREATE.JOBS"),
            Publish("$JS.API.CONSUMER.CREATE.JOBS.normal-yolov8n"),
            Publish("$JS.API.CONSUMER.DURABLE.CREATE.JOBS.normal-yolov8n"),
            Publish("$JS.API.CONSUMER.DELETE.WEBHOOKS.notifier"),
            Publish("$JS.API.CONSUMER.CREATE.SHADOW_JOBS.shadow-yolo11n"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.SHADOW_JOBS.shadow-yolo11n"),
            Publish("shadow_jobs.yolo11n.x"),
            Subscribe("_INBOX_worker.>"),
        ],
    ),
    (
        "operator",
        &[
            Publish("$JS.API.CONSUMER.MSG.NEXT.JOBS.normal-yolov8n"),
            Publish("$JS.ACK.JOBS.normal-yolov8n.1.1.1.1.1"),
            Publish("$JS.API.CONSUMER.CREATE.JOBS.normal-yolov8n"),
            Publish("$JS.API.STREAM.CREATE.OTHER"),
            Publish("$JS.API.STREAM.DELETE.DLQ"),
            Publish("$JS.API.STREAM.DELETE.KV_keys"),
            Publish("$JS.API.STREAM.PURGE.KV_keys"),
            Publish("$JS.API.STREAM.PURGE.JOBS"),
            Publish("$KV.leases.reconciler"),
            Publish("$JS.API.CONSUMER.CREATE.SHADOW_JOBS"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.SHADOW_JOBS.shadow-yolo11n"),
            Publish("shadow_jobs.yolo11n.x"),
            Publish("model_comparisons.a.b.x"),
            Publish("$JS.API.STREAM.PURGE.MODEL_COMPARISONS"),
            Subscribe("_INBOX_api.>"),
        ],
    ),
    (
        "monitor",
        &[
            Publish("jobs.yolov8n.00000000-0000-7000-8000-000000000000"),
            Publish("$KV.tasks.00000000-0000-7000-8000-000000000000"),
            Publish("$JS.API.STREAM.MSG.GET.KV_tasks"),
            Publish("$JS.API.DIRECT.GET.KV_tasks.$KV.tasks.x"),
            Publish("$JS.API.STREAM.CREATE.OTHER"),
            Publish("$JS.API.STREAM.UPDATE.JOBS"),
            Publish("$JS.API.STREAM.DELETE.JOBS"),
            Publish("$JS.API.STREAM.PURGE.JOBS"),
            Publish("$JS.API.CONSUMER.CREATE.KV_tasks"),
            Publish("$JS.API.CONSUMER.CREATE.KV_keys"),
            Publish("$JS.API.CONSUMER.MSG.NEXT.JOBS.normal-yolov8n"),
            Publish("$JS.API.CONSUMER.DELETE.JOBS.normal-yolov8n"),
            Subscribe("_INBOX_worker.>"),
            Subscribe("jobs.>"),
        ],
    ),
];

#[tokio::test]
async fn everything_else_is_denied() {
    let server = start();
    set_up(&server).await;
    let api = connect(&server, Role::Api).await;
    api.queue().submit(&job(), picture()).await.unwrap();
    for (role, tries) in DENIED {
        let (sender, mut errors) = mpsc::unbounded_channel();
        let options = ConnectOptions::new().event_callback(move |event| {
            if let Event::ServerError(ServerError::Other(text)) = event {
                let _ = sender.send(text);
            }
            std::future::ready(())
        });
        let client = raw(&server, role, options).await;
        for one in tries {
            let (verb, subject) = match *one {
                Publish(subject) => {
                    client.publish(subject, Bytes::new()).await.unwrap();
                    ("Publish", subject)
                }
                Subscribe(subject) => {
                    client.subscribe(subject).await.unwrap();
                    ("Subscription", subject)
                }
            };
            let said = timeout(TIMEOUT, errors.recv()).await;
            let said = said.unwrap_or_else(|_| panic!("{role} was let {one:?}")).unwrap();
            let expected = format!("Permissions Violation for {verb} to \"{subject}\"");
            assert_eq!(said, expected, "{role}: {one:?}");
        }
    }
    // All of it came to nothing.
    assert_eq!(server.stream("JOBS").unwrap().messages, 1);
    assert_eq!(server.stream("OTHER"), None);
    assert_eq!(api.queue().depth().await.unwrap().in_progress, 0);
}

#[tokio::test]
async fn a_monitor_may_look() {
    let server = start();
    set_up(&server).await;
    let options = ConnectOptions::new().custom_inbox_prefix("_INBOX_monitor");
    let client = raw(&server, "monitor", options).await;
    for subject in ["$JS.API.STREAM.INFO.JOBS", "$JS.API.CONSUMER.INFO.JOBS.normal-yolov8n"] {
        let answer =
            timeout(TIMEOUT, client.request(subject, Bytes::new())).await.unwrap().unwrap();
        assert!(answer.payload.windows(8).any(|part| part == b"\"config\""), "{subject}");
    }
}

#[tokio::test]
async fn what_is_missing_and_may_not_be_made_is_said_at_once() {
    let server = start();
    for role in [Role::Api, Role::Worker] {
        let mut config = config(&server, role);
        // Longer than the test waits: the denial is reported, and not a timeout.
        config.request_timeout = Duration::from_secs(600);
        let messaging = Messaging::connect(config).await.unwrap();
        let error = timeout(TIMEOUT, messaging.provision([ModelName::default()]))
            .await
            .unwrap()
            .unwrap_err();
        assert!(
            matches!(&error, MessagingError::MustBeProvisioned { what } if what == "stream JOBS"),
            "{error:?}"
        );
        assert!(!error.is_configuration(), "trying again helps once the set-up has run");
    }
}

#[tokio::test]
async fn other_settings_are_left_alone_by_those_who_may_only_look() {
    let server = start();
    set_up(&server).await;
    let mut config = config(&server, Role::Api);
    config.limits.max_messages = 7;
    config.ack_wait = Duration::from_secs(7);
    let changed =
        |role| MessagingConfig { servers: server.url_as(role).parse().unwrap(), ..config.clone() };
    let api = Messaging::connect(changed("api")).await.unwrap();
    let arranged = api.provision([ModelName::default()]).await.unwrap();
    let of = |arranged: &[messaging::Provisioned], what: &str| {
        arranged.iter().find(|one| one.what == what).map(|one| one.outcome)
    };
    assert_eq!(of(&arranged, "stream JOBS"), Some(ProvisionOutcome::Differs));
    assert_eq!(of(&arranged, "consumer normal-yolov8n"), Some(ProvisionOutcome::Differs));
    assert_eq!(of(&arranged, "stream DLQ"), Some(ProvisionOutcome::Unchanged));

    let setup = MessagingConfig { role: Role::Setup, ..changed("setup") };
    let arranged =
        Messaging::connect(setup).await.unwrap().provision([ModelName::default()]).await.unwrap();
    assert_eq!(of(&arranged, "stream JOBS"), Some(ProvisionOutcome::Updated));
    assert_eq!(of(&arranged, "consumer normal-yolov8n"), Some(ProvisionOutcome::Updated));
    assert_eq!(
        of(&api.provision([ModelName::default()]).await.unwrap(), "stream JOBS"),
        Some(ProvisionOutcome::Unchanged)
    );
}

#[tokio::test]
async fn an_api_that_may_not_recreate_the_consumer_reports_it_and_setup_does_it() {
    let server = start();
    let setup = set_up(&server).await;
    let api = connect(&server, Role::Api).await;
    let job = job();
    api.queue().submit(&job, picture()).await.unwrap();
    let options = ConnectOptions::new().custom_inbox_prefix("_INBOX_setup");
    let raw = raw(&server, "setup", options).await;
    raw.request("$JS.API.CONSUMER.DELETE.JOBS.normal-yolov8n", Bytes::new()).await.unwrap();

    let findings = api.reconciler().round().await.unwrap();
    let stuck = Discrepancy::StuckJobs;
    assert_eq!((findings.open(stuck), findings.repaired(stuck)), (1, 0));
    assert_eq!(setup.free_stuck_jobs().await.unwrap(), 1);
    let worker = connect(&server, Role::Worker).await;
    assert_eq!(next(&mut worker.queue().deliveries([ModelName::default()]), 1).await.job, job);
}

/// A worker that serves two models, for one of which nothing is provisioned.
#[tokio::test]
async fn a_model_without_consumers_holds_up_no_other_and_is_served_once_it_is_set_up() {
    let server = start();
    let setup = set_up(&server).await;
    let (api, worker) = (connect(&server, Role::Api).await, connect(&server, Role::Worker).await);
    let other: ModelName = "other".parse().unwrap();
    let error = worker.provision_consumers(&other).await.unwrap_err();
    assert!(
        matches!(&error, MessagingError::MustBeProvisioned { what } if what == "consumer high-other"),
        "{error:?}"
    );
    let mut deliveries = worker.queue().deliveries([ModelName::default(), other.clone()]);
    let of_other = Job { model: other.clone(), ..job() };
    api.queue().submit(&of_other, picture()).await.unwrap();
    for _ in 0..3 {
        let job = job();
        api.queue().submit(&job, picture()).await.unwrap();
        let delivery = next(&mut deliveries, 1).await;
        assert_eq!(delivery.job, job);
        delivery.settle(Settlement::Ack).await.unwrap();
    }
    // The API says what is wrong.
    let findings = api.reconciler().round().await.unwrap();
    let stuck = Discrepancy::StuckJobs;
    assert_eq!((findings.open(stuck), findings.repaired(stuck)), (1, 0));

    setup.provision([ModelName::default(), other]).await.unwrap();
    assert_eq!(next(&mut deliveries, 1).await.job, of_other);
    let report = api.queue().report().await.unwrap();
    let depths: Vec<_> =
        report.by_model.values().map(|depth| (depth.waiting, depth.in_progress)).collect();
    assert_eq!(depths, [(0, 1), (0, 0)]);
}
