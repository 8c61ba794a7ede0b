//! The heartbeats of workers.

use domain::{ModelName, Sha256Digest};
use messaging::{HEARTBEAT_TTL, HeartbeatEvent, WorkerHeartbeat};
use tokio::{sync::mpsc, time::timeout};

use crate::fixture::{A_WHILE, Fixture, TIMEOUT};

const ONE: [u8; 32] = [1; 32];
const TWO: [u8; 32] = [2; 32];

impl Fixture {
    fn worker(&self, model: &str, digest: [u8; 32]) -> WorkerHeartbeat {
        let model: ModelName = model.parse().unwrap();
        self.messaging.heartbeats().of_worker(&model, digest.into())
    }

    /// The heartbeats of workers that run `yolov8n`.
    fn watch(&self) -> mpsc::UnboundedReceiver<HeartbeatEvent> {
        let (sender, events) = mpsc::unbounded_channel();
        let heartbeats = self.messaging.heartbeats();
        tokio::spawn(async move {
            let model = ModelName::default();
            let listener = |event| sender.send(event).unwrap_or_default();
            heartbeats.follow(&model, listener).await
        });
        events
    }
}

async fn next(
    events: &mut mpsc::UnboundedReceiver<HeartbeatEvent>,
) -> (String, Option<Sha256Digest>) {
    let event = timeout(TIMEOUT, events.recv()).await.expect("there is an event").unwrap();
    (event.worker, event.model_digest)
}

#[tokio::test]
async fn the_heartbeats_of_each_worker_are_seen_until_it_stops() {
    let fixture = Fixture::start().await;
    let (one, two) = (fixture.worker("yolov8n", ONE), fixture.worker("yolov8n", TWO));
    one.renew().await.unwrap();
    // A late watcher gets the newest heartbeats.
    let mut events = fixture.watch();
    let (first, digest) = next(&mut events).await;
    assert_eq!(digest, Some(ONE.into()));

    fixture.worker("yolo11n", TWO).renew().await.unwrap();
    two.renew().await.unwrap();
    let (second, digest) = next(&mut events).await;
    assert_eq!(digest, Some(TWO.into()), "not those of another model");
    assert_ne!(first, second);

    one.renew().await.unwrap();
    assert_eq!(next(&mut events).await, (first.clone(), Some(ONE.into())));
    one.withdraw().await.unwrap();
    assert_eq!(next(&mut events).await, (first, None));
    assert!(timeout(A_WHILE, events.recv()).await.is_err());
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
    assert_eq!(next(&mut events).await, ("yolov8n.other".to_owned(), None));
}

#[tokio::test]
async fn watching_goes_on_after_a_restart_of_the_server() {
    let mut fixture = Fixture::start().await;
    let one = fixture.worker("yolov8n", ONE);
    one.renew().await.unwrap();
    let mut events = fixture.watch();
    next(&mut events).await;
    fixture.server.restart();
    let sending = async { while one.renew().await.is_err() {} };
    timeout(TIMEOUT, sending).await.expect("the connection comes back");
    assert_eq!(next(&mut events).await.1, Some(ONE.into()));
}
