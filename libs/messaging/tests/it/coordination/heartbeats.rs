//! The heartbeats of workers.

use domain::{ModelName, Sha256Digest};
use messaging::{HEARTBEAT_TTL, HeartbeatEvent, ModelReport};
use tokio::{sync::mpsc, time::timeout};

use crate::fixture::{A_WHILE, Fixture, TIMEOUT};

fn of_version(byte: u8) -> ModelReport {
    ModelReport::of_version([byte; 32].into())
}

fn digest(byte: u8) -> Option<Sha256Digest> {
    Some([byte; 32].into())
}

impl Fixture {
    /// The heartbeats of all workers.
    fn watch(&self) -> mpsc::UnboundedReceiver<HeartbeatEvent> {
        let (sender, events) = mpsc::unbounded_channel();
        let heartbeats = self.messaging.heartbeats();
        tokio::spawn(async move {
            heartbeats.follow(|event| sender.send(event).unwrap_or_default()).await
        });
        events
    }
}

async fn next(
    events: &mut mpsc::UnboundedReceiver<HeartbeatEvent>,
) -> (String, Option<Sha256Digest>) {
    let event = timeout(TIMEOUT, events.recv()).await.expect("there is an event").unwrap();
    (event.worker, event.report.map(|report| report.model_digest))
}

#[tokio::test]
async fn the_heartbeats_of_each_worker_are_seen_until_it_stops() {
    let fixture = Fixture::start().await;
    let model = ModelName::default();
    let [one, two] = [(); 2].map(|()| fixture.messaging.heartbeats().of_worker());
    one.renew(&model, &of_version(1)).await.unwrap();
    // A late watcher gets the newest heartbeats.
    let mut events = fixture.watch();
    let (first, version) = next(&mut events).await;
    assert_eq!(version, digest(1));

    let other: ModelName = "yolo11n".parse().unwrap();
    two.renew(&other, &of_version(2)).await.unwrap();
    let event = timeout(TIMEOUT, events.recv()).await.unwrap().unwrap();
    assert_eq!((event.model, event.report), (other, Some(of_version(2))));
    two.renew(&model, &of_version(3)).await.unwrap();
    let (second, version) = next(&mut events).await;
    assert_eq!((version, &second), (digest(3), &event.worker));
    assert_ne!(first, second);

    one.renew(&model, &of_version(1)).await.unwrap();
    assert_eq!(next(&mut events).await, (first.clone(), digest(1)));
    one.withdraw(&model).await.unwrap();
    assert_eq!(next(&mut events).await, (first, None));
    assert!(timeout(A_WHILE, events.recv()).await.is_err());
}

#[tokio::test]
async fn a_heartbeat_has_what_the_worker_reports_of_the_model() {
    let fixture = Fixture::start().await;
    let mut events = fixture.watch();
    let report = ModelReport {
        worker: Some("worker-1".to_owned()),
        in_memory: Some(true),
        runs: 3,
        mean_ms: Some(40.5),
        p95_ms: Some(50.25),
        ..of_version(1)
    };
    let worker = fixture.messaging.heartbeats().of_worker();
    worker.renew(&ModelName::default(), &report).await.unwrap();
    let event = timeout(TIMEOUT, events.recv()).await.unwrap().unwrap();
    assert_eq!(event.report, Some(report));

    let bucket = fixture.raw().await.get_key_value("models").await.unwrap();
    let of_older_version = format!(r#"{{"model_digest":"{}"}}"#, "07".repeat(32));
    bucket.put("yolov8n.older", of_older_version.into()).await.unwrap();
    let event = timeout(TIMEOUT, events.recv()).await.unwrap().unwrap();
    assert_eq!(event.report, Some(of_version(7)));
}

#[tokio::test]
async fn a_heartbeat_expires() {
    let fixture = Fixture::start().await;
    let bucket = fixture.raw().await.get_stream("KV_models").await.unwrap();
    assert_eq!(bucket.cached_info().config.max_age, HEARTBEAT_TTL);
}

#[tokio::test]
async fn a_heartbeat_that_cannot_be_parsed_has_no_model() {
    let fixture = Fixture::start().await;
    let bucket = fixture.raw().await.get_key_value("models").await.unwrap();
    bucket.put("yolov8n.other", "nonsense".into()).await.unwrap();
    let mut events = fixture.watch();
    assert_eq!(next(&mut events).await, ("other".to_owned(), None));
}

#[tokio::test]
async fn watching_goes_on_after_a_restart_of_the_server() {
    let mut fixture = Fixture::start().await;
    let (one, model) = (fixture.messaging.heartbeats().of_worker(), ModelName::default());
    one.renew(&model, &of_version(1)).await.unwrap();
    let mut events = fixture.watch();
    next(&mut events).await;
    fixture.server.restart();
    let sending = async { while one.renew(&model, &of_version(1)).await.is_err() {} };
    timeout(TIMEOUT, sending).await.expect("the connection comes back");
    assert_eq!(next(&mut events).await.1, digest(1));
}
