//! What workers say of the models they run.

use domain::{ModelName, Sha256Digest};
use messaging::{HEARTBEAT_TTL, HeartbeatEvent, WorkerHeartbeat};
use tokio::{sync::mpsc, time::timeout};

use crate::fixture::{A_WHILE, Fixture, LONG};

const ONE: [u8; 32] = [1; 32];
const TWO: [u8; 32] = [2; 32];

impl Fixture {
    fn worker(&self, model: &str, digest: [u8; 32]) -> WorkerHeartbeat {
        let model: ModelName = model.parse().unwrap();
        self.messaging.heartbeats().of_worker(&model, digest.into())
    }

    /// What is heard of `yolov8n` from now on, by somebody who never stops listening.
    fn listen(&self) -> mpsc::UnboundedReceiver<HeartbeatEvent> {
        let (heard, hears) = mpsc::unbounded_channel();
        let announcements = self.messaging.heartbeats();
        tokio::spawn(async move {
            let model = ModelName::default();
            let listener = |word| heard.send(word).unwrap_or_default();
            announcements.follow(&model, listener).await
        });
        hears
    }
}

async fn next(
    hears: &mut mpsc::UnboundedReceiver<HeartbeatEvent>,
) -> (String, Option<Sha256Digest>) {
    let heard = timeout(LONG, hears.recv()).await.expect("something is heard").unwrap();
    (heard.worker, heard.model_digest)
}

#[tokio::test]
async fn every_worker_is_heard_until_it_stops() {
    let fixture = Fixture::start().await;
    let (one, two) = (fixture.worker("yolov8n", ONE), fixture.worker("yolov8n", TWO));
    one.renew().await.unwrap();
    // Who comes later hears what was said before.
    let mut hears = fixture.listen();
    let (first, digest) = next(&mut hears).await;
    assert_eq!(digest, Some(ONE.into()));

    fixture.worker("yolo11n", TWO).renew().await.unwrap();
    two.renew().await.unwrap();
    let (second, digest) = next(&mut hears).await;
    assert_eq!(digest, Some(TWO.into()), "those that run another model are not heard");
    assert_ne!(first, second);

    one.renew().await.unwrap();
    assert_eq!(next(&mut hears).await, (first.clone(), Some(ONE.into())));
    one.withdraw().await.unwrap();
    assert_eq!(next(&mut hears).await, (first, None));
    assert!(timeout(A_WHILE, hears.recv()).await.is_err());
}

#[tokio::test]
async fn a_silent_worker_is_forgotten_by_the_server() {
    let fixture = Fixture::start().await;
    let bucket = fixture.raw().await.get_stream("KV_models").await.unwrap();
    assert_eq!(bucket.cached_info().config.max_age, HEARTBEAT_TTL);
}

#[tokio::test]
async fn a_word_that_cannot_be_read_is_no_model() {
    let fixture = Fixture::start().await;
    let bucket = fixture.raw().await.get_key_value("models").await.unwrap();
    bucket.put("yolov8n.other", "nonsense".into()).await.unwrap();
    let mut hears = fixture.listen();
    assert_eq!(next(&mut hears).await, ("yolov8n.other".to_owned(), None));
}

#[tokio::test]
async fn a_server_that_starts_again_is_listened_to_again() {
    let mut fixture = Fixture::start().await;
    let one = fixture.worker("yolov8n", ONE);
    one.renew().await.unwrap();
    let mut hears = fixture.listen();
    next(&mut hears).await;
    fixture.server.restart();
    let renewing = async { while one.renew().await.is_err() {} };
    timeout(LONG, renewing).await.expect("the connection comes back");
    assert_eq!(next(&mut hears).await.1, Some(ONE.into()));
}
