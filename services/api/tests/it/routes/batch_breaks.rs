//! Batches whose API cannot store all of their pictures, or is cut off from NATS.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use domain::{
    BatchId, BatchItem, BatchRecord, DetectionSettings, ItemOutcome, ItemRefusal, Job, Reception,
    TaskId,
};
use messaging::{Messaging, MessagingConfig, Role};
use reqwest::{
    Body, StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use testkit::{Direction, NatsServer, TcpProxy, eventually};
use time::OffsetDateTime;
use tokio::sync::mpsc as channel;

use crate::app::{TEST_TIMEOUT, TestApp, bus_bytes, json};

const ARCHIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zips/python-streamed-stored.zip");
const GIF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/header/1x1.gif");

async fn results(app: &TestApp, batch: &Value) -> Vec<Value> {
    let url = app.url(batch["links"]["results"].as_str().unwrap());
    let text = app.client.get(url).send().await.unwrap().text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn task_id(line: &Value) -> TaskId {
    line["task_id"].as_str().unwrap_or_else(|| panic!("no task: {line}")).parse().unwrap()
}

/// The batch, once it has received so many pictures and is in this state.
async fn becomes(app: &TestApp, path: &str, received: u32, state: &str) -> Value {
    eventually(TEST_TIMEOUT, async || {
        let (status, batch) = app.get(path).await;
        assert_eq!(status, StatusCode::OK, "{batch}");
        (batch["received"] == received && batch["state"] == state).then_some(batch)
    })
    .await
}

/// The API that ends batches may take a picture for missing at the moment in which it is accepted.
#[tokio::test]
async fn a_picture_that_was_taken_for_missing_and_has_a_task_is_not_refused() {
    let app = TestApp::start().await;
    let messaging = app.worker_side().await;
    let batches = messaging.batches();
    let reception = Reception::Interrupted { reason: "it broke off".to_owned() };
    let record = BatchRecord { received: 2, ..BatchRecord::new(BatchId::generate(), reception) };
    let batch_id = record.batch_id;
    let refusal = ItemRefusal {
        name: String::new(),
        kind: "urn:problem-type:spotter:unavailable".to_owned(),
        detail: "it was not stored".to_owned(),
    };
    let item = BatchItem { batch_id, index: 0 };
    batches.note_refused(item, &refusal).await.unwrap();
    batches.note_outcome(BatchItem { batch_id, index: 1 }, ItemOutcome::Expired).await.unwrap();
    let settings = DetectionSettings::default();
    let job = Job::new("a.jpg".to_owned(), "yolov8n".parse().unwrap(), settings);
    let job = Job { task_id: item.task_id(), batch: Some(item), ..job };
    messaging.queue().submit(&job, bus_bytes().into()).await.unwrap();
    assert!(batches.create(&record).await.unwrap().is_some());

    let path = format!("/v1/batches/{batch_id}");
    let counts = eventually(TEST_TIMEOUT, async || {
        let (_, batch) = app.get(&path).await;
        let is_settled = batch["counts"]["refused"] == 0 || batch["state"] == "FINISHED";
        is_settled.then(|| batch["counts"].clone())
    })
    .await;
    assert_eq!(counts["pending"], 1, "{counts}");
    app.succeed(item.task_id()).await;
    let batch = becomes(&app, &path, 2, "FINISHED").await;
    let counts = &batch["counts"];
    assert_eq!((&counts["succeeded"], &counts["expired"]), (&json!(1), &json!(1)), "{batch}");
}

#[tokio::test]
async fn pictures_behind_one_that_cannot_be_stored_are_in_the_batch() {
    let app = TestApp::start_with(&[("INLINE_LIMIT_BYTES", "1000")]).await;
    // Larger pictures cannot be stored from now on.
    let answer = app.nats.request("$JS.API.STREAM.DELETE.OBJ_pictures", "").expect("an answer");
    assert!(answer.contains("\"success\":true"), "{answer}");
    let gif = || Part::bytes(fs::read(GIF).unwrap());
    let form = Form::new()
        .part("file", Part::bytes(bus_bytes()).file_name("large.jpg"))
        .part("file", gif().file_name("a.gif"))
        .part("file", gif().file_name("b.gif"));
    let (status, problem) = json(app.post("/v1/batches", form).await).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    let batch = &problem["batch"];
    assert_eq!((&batch["received"], app.jobs()), (&json!(3), 2), "{problem}");
    assert_eq!(
        (&batch["counts"]["pending"], &batch["counts"]["refused"]),
        (&json!(2), &json!(1)),
        "{batch}"
    );
    let lines = results(&app, batch).await;
    assert_eq!(lines[0]["error"]["type"], "urn:problem-type:spotter:unavailable", "{}", lines[0]);
    app.succeed(task_id(&lines[1])).await;
    app.succeed(task_id(&lines[2])).await;
    let path = batch["links"]["self"].as_str().unwrap();
    let ended = becomes(&app, path, 3, "FINISHED").await;
    assert_eq!(ended["counts"]["succeeded"], 2);
}

/// The queue stores it after the batch was closed, and nobody is left who knows that it was sent.
#[tokio::test]
async fn a_job_that_arrives_after_its_api_has_died_is_counted() {
    let app = TestApp::start().await;
    let messaging = app.worker_side().await;
    let reception = Reception::Receiving { until: OffsetDateTime::now_utc() };
    let record = BatchRecord { received: 1, ..BatchRecord::new(BatchId::generate(), reception) };
    let batch_id = record.batch_id;
    let arrives = async |index| {
        let item = BatchItem { batch_id, index };
        let settings = DetectionSettings::default();
        let job = Job::new("a.jpg".to_owned(), "yolov8n".parse().unwrap(), settings);
        let job = Job { task_id: item.task_id(), batch: Some(item), ..job };
        messaging.queue().submit(&job, bus_bytes().into()).await.unwrap();
        job.task_id
    };
    let first = arrives(0).await;
    assert!(messaging.batches().create(&record).await.unwrap().is_some());
    let path = format!("/v1/batches/{batch_id}");
    becomes(&app, &path, 1, "RUNNING").await;
    app.succeed(first).await;
    becomes(&app, &path, 1, "FINISHED").await;

    // The second picture never arrives.
    let third = arrives(2).await;
    let running = becomes(&app, &path, 3, "RUNNING").await;
    let counts = &running["counts"];
    assert_eq!((&counts["pending"], &counts["refused"]), (&json!(1), &json!(1)), "{running}");
    app.succeed(third).await;
    let ended = becomes(&app, &path, 3, "FINISHED").await;
    assert_eq!(ended["counts"]["succeeded"], 2, "{ended}");

    // This one is run before anybody has looked for it.
    let fourth = arrives(3).await;
    app.succeed(fourth).await;
    let ended = becomes(&app, &path, 4, "FINISHED").await;
    assert_eq!(ended["counts"]["succeeded"], 3, "{ended}");
}

/// Holds everything back that an API sends to NATS, from its next job on.
struct Holding {
    reached: channel::UnboundedReceiver<()>,
    release: mpsc::Sender<()>,
}

impl Holding {
    fn next_job_of(proxy: &TcpProxy) -> Self {
        let (reaches, reached) = channel::unbounded_channel();
        let (release, released) = mpsc::channel();
        let (released, is_held) = (Mutex::new(released), Arc::new(AtomicBool::new(false)));
        proxy.drop_frames(Direction::ToServer, move |frame| {
            if frame.starts_with(b"HPUB jobs.") && !is_held.swap(true, Ordering::Relaxed) {
                reaches.send(()).unwrap();
                // An error: the test has ended.
                let _ = released.lock().unwrap().recv();
            }
            false
        });
        Self { reached, release }
    }
}

/// As if the time of its API had passed.
async fn let_the_lease_end(nats: &NatsServer, id: BatchId) {
    let config = MessagingConfig::new(nats.url().parse().unwrap(), Role::Api);
    let batches = Messaging::connect(config).await.unwrap().batches();
    eventually(TEST_TIMEOUT, async || {
        let (record, revision) = batches.get(id).await.unwrap().unwrap();
        let reception = Reception::Receiving { until: OffsetDateTime::now_utc() };
        batches.update(&BatchRecord { reception, ..record }, revision).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_job_that_arrives_after_its_batch_was_closed_is_counted() {
    // The first one closes batches.
    let other = TestApp::start().await;
    let proxy = TcpProxy::for_nats(other.nats.port());
    let through_proxy = format!("nats://127.0.0.1:{}", proxy.port());
    let cut_off = TestApp::start_with(&[("NATS_URL", &through_proxy)]).await;
    let archive = fs::read(ARCHIVE).unwrap();
    let (sender, segments) = channel::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = futures_util::stream::unfold(segments, async |mut segments| {
        segments.recv().await.map(|segment| (segment, segments))
    });
    let request = cut_off.client.post(cut_off.url("/v1/batches"));
    let request = request.header("content-type", "application/zip").body(Body::wrap_stream(body));
    let sending = tokio::spawn(request.timeout(4 * TEST_TIMEOUT).send());
    // The first picture, and half of the header of the second.
    sender.send(Ok(archive[..110].to_vec())).await.unwrap();
    eventually(TEST_TIMEOUT, async || (other.jobs() == 1).then_some(())).await;
    let (_, list) = other.get("/v1/tasks").await;
    let id: BatchId = list["tasks"][0]["batch"]["batch_id"].as_str().unwrap().parse().unwrap();
    let mut holding = Holding::next_job_of(&proxy);
    sender.send(Ok(archive[110..].to_vec())).await.unwrap();
    drop(sender);
    holding.reached.recv().await.unwrap();
    let_the_lease_end(&other.nats, id).await;

    // Another API closes the batch without the second picture.
    let path = format!("/v1/batches/{id}");
    let running = becomes(&other, &path, 1, "RUNNING").await;
    assert!(running["interruption"].is_string(), "{running}");
    other.succeed(task_id(&results(&other, &running).await[0])).await;
    let ended = becomes(&other, &path, 1, "FINISHED").await;
    assert_eq!(ended["counts"]["succeeded"], 1);

    // Its job arrives all the same, and the batch goes on until it has ended, too.
    holding.release.send(()).unwrap();
    eventually(TEST_TIMEOUT, async || (other.jobs() == 2).then_some(())).await;
    let running = becomes(&other, &path, 2, "RUNNING").await;
    let lines = results(&other, &running).await;
    assert_eq!((lines.len(), &lines[1]["state"]), (2, &json!("QUEUED")));
    other.succeed(task_id(&lines[1])).await;
    let ended = becomes(&other, &path, 2, "FINISHED").await;
    assert_eq!(ended["counts"]["succeeded"], 2);
    let (status, problem) = json(sending.await.unwrap().unwrap()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
}
