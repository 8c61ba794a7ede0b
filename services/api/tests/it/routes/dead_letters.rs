//! Dead letters: listed, read, requeued and deleted.

use domain::{FailureReason, ModelName, TaskId, TaskState};
use messaging::Settlement;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use testkit::eventually;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::app::{TEST_TIMEOUT, TestApp, bus_bytes, form, json};

const LIST: &str = "/v1/dead-letters";

impl TestApp {
    /// Submits these bytes, and makes the job a dead letter, as a worker does that has tried it too often.
    async fn dead_letter(&self, bytes: Vec<u8>) -> TaskId {
        let (status, body) = json(self.post("/v1/tasks", form("bus.jpg", bytes)).await).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        let id: TaskId = body["task_id"].as_str().unwrap().parse().unwrap();
        let worker = self.worker_side().await;
        let mut deliveries = worker.queue().deliveries([ModelName::default()]);
        let delivery = deliveries.next(1).await;
        assert_eq!(delivery.job.task_id, id);
        let record = domain::TaskRecord::queued(delivery.job.clone());
        let failure = TaskState::Failure {
            finished_at: OffsetDateTime::now_utc(),
            reason: FailureReason::Poison,
            message: "given up after 5 attempts".to_owned(),
        };
        worker.tasks().finish(&record.with_state(failure)).await.unwrap();
        let reject = Settlement::Reject { reason: "poison".to_owned() };
        delivery.settle(reject).await.unwrap();
        deliveries.stop().await;
        id
    }

    async fn listed(&self, query: &str) -> Value {
        let (status, list) = self.get(&format!("{LIST}{query}")).await;
        assert_eq!(status, StatusCode::OK, "{list}");
        list
    }

    async fn send(&self, method: Method, path: &str) -> (StatusCode, String) {
        let answer = self.client.request(method, self.url(path)).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }
}

fn large_bus() -> Vec<u8> {
    let mut bytes = bus_bytes();
    // Bytes after the end of the JPEG are part of the file: it exceeds the inline limit.
    bytes.resize(2 << 20, 7);
    bytes
}

fn time_of(value: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(value.as_str().unwrap(), &Rfc3339).unwrap()
}

/// The last part of a problem's type.
fn kind(text: &str) -> String {
    let problem: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"));
    problem["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_dead_letter_is_listed_shown_and_requeued_once() {
    let app = TestApp::start().await;
    assert_eq!(app.listed("").await, serde_json::json!({ "dead_letters": [] }));
    for picture in [bus_bytes(), large_bus()] {
        let id = app.dead_letter(picture.clone()).await;
        let list = app.listed("").await;
        let letter = &list["dead_letters"][0];
        assert_eq!(letter["id"], id.to_string());
        assert_eq!((&letter["task_id"], &letter["model"]), (&letter["id"], &"yolov8n".into()));
        assert_eq!((&letter["reason"], &letter["deliveries"]), (&"poison".into(), &1.into()));
        assert_eq!(letter["detail"], "given up after 5 attempts");
        assert_eq!(
            (&letter["picture_name"], &letter["picture"]["bytes"]),
            (&"bus.jpg".into(), &picture.len().into())
        );
        let kept = time_of(&letter["kept_until"]) - time_of(&letter["died_at"]);
        assert_eq!(kept, time::Duration::WEEK);

        let shown = app.client.get(app.url(&format!("{LIST}/{id}/picture"))).send().await.unwrap();
        assert_eq!(shown.status(), StatusCode::OK);
        let expected = [
            ("content-type", "image/jpeg"),
            ("content-disposition", "attachment"),
            ("x-content-type-options", "nosniff"),
        ];
        for (name, value) in expected {
            assert_eq!(shown.headers()[name], value, "{name}");
        }
        assert_eq!(shown.bytes().await.unwrap(), picture);

        let again = app.client.post(app.url(&format!("{LIST}/{id}/requeue"))).send().await.unwrap();
        let location = again.headers()["location"].to_str().unwrap().to_owned();
        let (status, requeued) = json(again).await;
        assert_eq!(status, StatusCode::ACCEPTED);
        assert_eq!(location, format!("/v1/tasks/{}", requeued["task_id"].as_str().unwrap()));
        assert_eq!(app.get(&location).await.1["state"], "QUEUED");
        assert_eq!(app.get(&format!("/v1/tasks/{id}")).await.1["state"], "FAILURE");
        let (status, text) = app.send(Method::POST, &format!("{LIST}/{id}/requeue")).await;
        assert_eq!((status, kind(&text).as_str()), (StatusCode::NOT_FOUND, "dead-letter-unknown"));
        let revoked = app.client.delete(app.url(&location)).send().await.unwrap();
        assert_eq!(revoked.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn of_two_requests_to_requeue_one_finds_it_gone() {
    let app = TestApp::start().await;
    let id = app.dead_letter(bus_bytes()).await;
    let path = format!("{LIST}/{id}/requeue");
    let (one, other) = tokio::join!(app.send(Method::POST, &path), app.send(Method::POST, &path));
    let mut statuses = [one.0, other.0];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::ACCEPTED, StatusCode::NOT_FOUND]);
    assert_eq!(app.jobs(), 1);
}

#[tokio::test]
async fn dropped_dead_letters_are_gone_and_pages_lead_through_the_others() {
    let app = TestApp::start().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(app.dead_letter(bus_bytes()).await.to_string());
    }
    let dropped = ids.remove(1);
    assert_eq!(
        app.send(Method::DELETE, &format!("{LIST}/{dropped}")).await.0,
        StatusCode::NO_CONTENT
    );
    for (method, path) in [
        (Method::DELETE, format!("{LIST}/{dropped}")),
        (Method::GET, format!("{LIST}/{dropped}/picture")),
        (Method::POST, format!("{LIST}/{dropped}/requeue")),
        (Method::DELETE, format!("{LIST}/nonsense")),
        (Method::DELETE, format!("{LIST}/0")),
    ] {
        let (status, text) = app.send(method, &path).await;
        assert_eq!(
            (status, kind(&text).as_str()),
            (StatusCode::NOT_FOUND, "dead-letter-unknown"),
            "{path}"
        );
    }
    let ids_of = |list: &Value| -> Vec<String> {
        let letters = list["dead_letters"].as_array().unwrap();
        letters.iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = app.listed("?limit=2").await;
    assert_eq!(ids_of(&first), ids[..2]);
    let second = app.listed(&format!("?limit=2&cursor={}", first["next"].as_str().unwrap())).await;
    assert_eq!((ids_of(&second), &second["next"]), (ids[2..].to_vec(), &Value::Null));
    for wrong in ["?cursor=x", "?cursor=-1", "?limit=0", "?limit=101", "?unknown=1"] {
        assert_eq!(app.get(&format!("{LIST}{wrong}")).await.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn a_message_that_is_no_job_can_only_be_read_and_dropped() {
    let app = TestApp::start().await;
    let stored = app.nats.request("jobs.yolov8n.x", "<script>no job</script>");
    assert!(stored.is_some_and(|ack| ack.contains("JOBS")));
    let worker = app.worker_side().await;
    let mut deliveries = worker.queue().deliveries([ModelName::default()]);
    let list = tokio::select! {
        delivery = deliveries.next(1) => panic!("a job: {:?}", delivery.job),
        list = eventually(TEST_TIMEOUT, async || {
            let list = app.listed("").await;
            list["dead_letters"][0].is_object().then_some(list)
        }) => list,
    };
    let letter = &list["dead_letters"][0];
    assert_eq!(letter["id"], "1");
    for absent in ["task_id", "model", "picture_name", "detail"] {
        assert_eq!(letter.get(absent), None, "{absent}");
    }
    let shown = app.client.get(app.url(&format!("{LIST}/1/picture"))).send().await.unwrap();
    assert_eq!(shown.headers()["content-type"], "application/octet-stream");
    assert_eq!(shown.text().await.unwrap(), "<script>no job</script>");
    let (status, text) = app.send(Method::POST, &format!("{LIST}/1/requeue")).await;
    assert_eq!((status, kind(&text).as_str()), (StatusCode::CONFLICT, "dead-letter-unusable"));
    assert_eq!(app.send(Method::DELETE, &format!("{LIST}/1")).await.0, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn without_keys_a_page_of_another_origin_changes_nothing() {
    let app = TestApp::start_with(&[("CORS_ORIGINS", "https://a.example")]).await;
    let id = app.dead_letter(bus_bytes()).await;
    let foreign = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://b.example"),
        ("origin", "null"),
    ];
    let requests = [
        (Method::POST, format!("{LIST}/{id}/requeue")),
        (Method::DELETE, format!("{LIST}/{id}")),
        (Method::POST, format!("/v1/webhooks/dead-letters/{id}/replay")),
    ];
    for (method, path) in &requests {
        for (name, value) in foreign {
            let request = app.client.request(method.clone(), app.url(path)).header(name, value);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {path} {name}: {value}");
            assert_eq!(kind(&answer.text().await.unwrap()), "foreign-page");
        }
    }
    assert_eq!(app.listed("").await["dead_letters"].as_array().unwrap().len(), 1);
    assert_eq!(app.jobs(), 0);
    let (method, path) = &requests[0];
    let allowed = app.client.request(method.clone(), app.url(path));
    let allowed = allowed.header("origin", "https://a.example").send().await.unwrap();
    assert_eq!(allowed.status(), StatusCode::ACCEPTED);
}
