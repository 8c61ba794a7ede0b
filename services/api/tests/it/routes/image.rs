//! Drawings of tasks: asking for one, and reading it.

use bytes::Bytes;
use domain::{Drawing, DrawingFormat, ModelName, TaskId};
use reqwest::{Response, StatusCode, header, multipart::Form};
use serde_json::{Value, json as value};
use uuid::{NoContext, Timestamp, Uuid};

use crate::app::{TestApp, bus_bytes, bus_form, form, json};

/// Several pieces.
fn file() -> Bytes {
    (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

async fn submit(app: &TestApp, query: &str, form: Form) -> (StatusCode, Value) {
    json(app.post(&format!("/v1/tasks{query}"), form).await).await
}

async fn submitted(app: &TestApp, query: &str) -> TaskId {
    let (status, task) = submit(app, query, bus_form()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{task}");
    assert!(task["links"].get("image").is_none(), "there is none yet: {task}");
    task["task_id"].as_str().unwrap().parse().unwrap()
}

/// Stores a drawing and the result, as a worker does.
async fn draw(app: &TestApp, id: TaskId, format: DrawingFormat) -> Drawing {
    let drawings = app.worker_side().await.drawings();
    let stored = drawings.put(id, format, file()).await.unwrap();
    let drawing = stored.drawing();
    stored.keep();
    app.succeed_with(id, &[], Some(drawing)).await;
    drawing
}

async fn get(app: &TestApp, path: &str, name: header::HeaderName, value: &str) -> Response {
    app.client.get(app.url(path)).header(name, value).send().await.unwrap()
}

#[tokio::test]
async fn a_drawing_is_read_in_the_format_that_was_asked_for() {
    let app = TestApp::start().await;
    for (asked, format) in [
        ("true", DrawingFormat::Jpeg),
        ("jpeg", DrawingFormat::Jpeg),
        ("png", DrawingFormat::Png),
        ("webp", DrawingFormat::WebP),
    ] {
        let id = submitted(&app, &format!("?annotated={asked}")).await;
        assert_eq!(
            app.worker_side()
                .await
                .queue()
                .deliveries([ModelName::default()])
                .next(1)
                .await
                .job
                .annotated,
            Some(format)
        );
        draw(&app, id, format).await;
        let (_, task) = app.get(&format!("/v1/tasks/{id}")).await;
        let path = format!("/v1/tasks/{id}/image");
        assert_eq!(task["links"]["image"], path.as_str());
        assert_eq!(task["links"]["self"], format!("/v1/tasks/{id}"));

        let accept = format!("text/html, {};q=0.5", format.media_type());
        let answer = get(&app, &path, header::ACCEPT, &accept).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let headers = answer.headers().clone();
        assert_eq!(headers[header::CONTENT_TYPE], format.media_type());
        assert_eq!(headers[header::CONTENT_LENGTH], "300000");
        assert_eq!(headers[header::VARY], "Accept");
        assert_eq!(answer.bytes().await.unwrap(), file());

        let tag = headers[header::ETAG].to_str().unwrap();
        let again = get(&app, &path, header::IF_NONE_MATCH, tag).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let other = get(&app, &path, header::ACCEPT, "image/gif, text/*").await;
        let (status, problem) = json(other).await;
        assert_eq!(status, StatusCode::NOT_ACCEPTABLE);
        assert_eq!(problem["type"], "urn:problem-type:spotter:not-acceptable");
        assert!(problem["detail"].as_str().unwrap().contains(format.media_type()), "{problem}");
    }
}

#[tokio::test]
async fn a_field_of_the_form_or_a_member_of_json_asks_for_a_drawing() {
    let app = TestApp::start().await;
    let of_form = form("bus.jpg", bus_bytes()).text("annotated", "PNG");
    let (status, _) = submit(&app, "", of_form).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let image = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bus_bytes());
    let body = value!({ "image": image, "annotated": true });
    let request = app.client.post(app.url("/v1/tasks")).json(&body);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::ACCEPTED);
    assert_eq!(submit(&app, "?annotated=false", bus_form()).await.0, StatusCode::ACCEPTED);
    let mut deliveries = app.worker_side().await.queue().deliveries([ModelName::default()]);
    for expected in [Some(DrawingFormat::Png), Some(DrawingFormat::Jpeg), None] {
        assert_eq!(deliveries.next(1).await.job.annotated, expected);
    }
    let (status, problem) = submit(&app, "?annotated=gif", bus_form()).await;
    assert_eq!(
        (status, &problem["errors"][0]["parameter"]),
        (StatusCode::BAD_REQUEST, &value!("annotated"))
    );
}

#[tokio::test]
async fn another_drawing_is_another_submission() {
    let app = TestApp::start().await;
    let with_key = async |query: &str| {
        let request = app.client.post(app.url(&format!("/v1/tasks{query}")));
        let request = request.header("idempotency-key", "k").multipart(bus_form());
        request.send().await.unwrap().status()
    };
    assert_eq!(with_key("?annotated=true").await, StatusCode::ACCEPTED);
    assert_eq!(with_key("?annotated=jpeg").await, StatusCode::ACCEPTED);
    for query in ["", "?annotated=png"] {
        assert_eq!(with_key(query).await, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
}

#[tokio::test]
async fn a_task_without_an_image_has_an_error_that_says_why() {
    let app = TestApp::start().await;
    let (queued, failed, not_stored, gone) = (
        submitted(&app, "?annotated=true").await,
        submitted(&app, "?annotated=true").await,
        submitted(&app, "?annotated=true").await,
        submitted(&app, "?annotated=true").await,
    );
    let (plain, done) = (submitted(&app, "").await, submitted(&app, "").await);
    app.fail(failed, "no picture").await;
    app.succeed_with_warnings(not_stored, &["the picture with the drawn objects is missing"]).await;
    app.succeed(done).await;
    let drawing = Drawing { id: 7, format: DrawingFormat::Jpeg, bytes: 1000 };
    app.succeed_with(gone, &[], Some(drawing)).await;
    let long_ago = Uuid::new_v7(Timestamp::from_unix(NoContext, 1_700_000_000, 0)).to_string();
    let cases = [
        (queued.to_string(), 409, "task-unfinished", "?wait=30"),
        (failed.to_string(), 409, "task-without-result", "FAILURE"),
        (not_stored.to_string(), 404, "no-image", "`warnings`"),
        (gone.to_string(), 404, "no-image", "gone"),
        (plain.to_string(), 404, "no-image", "annotated=true"),
        (done.to_string(), 404, "no-image", "annotated=true"),
        (TaskId::generate().to_string(), 404, "task-unknown", "no task"),
        ("no-id".to_owned(), 404, "task-unknown", "no-id"),
        (long_ago, 410, "task-expired", "expired"),
    ];
    for (id, status, kind, words) in cases {
        let answer = get(&app, &format!("/v1/tasks/{id}/image"), header::ACCEPT, "*/*").await;
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/problem+json");
        let (answered, problem) = json(answer).await;
        assert_eq!(answered.as_u16(), status, "{problem}");
        assert_eq!(problem["type"], format!("urn:problem-type:spotter:{kind}"), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
        assert_eq!(problem["task"].is_object(), status == 409, "{problem}");
    }
    let (status, problem) = app.get(&format!("/v1/tasks/{queued}/image?wit=1")).await;
    assert_eq!(
        (status, &problem["errors"][0]["parameter"]),
        (StatusCode::BAD_REQUEST, &value!("wit"))
    );
}

#[tokio::test]
async fn a_request_may_wait_for_the_image() {
    let app = TestApp::start().await;
    let id = submitted(&app, "?annotated=true").await;
    let path = format!("/v1/tasks/{id}/image?wait=30");
    let (answer, _) = tokio::join!(
        get(&app, &path, header::ACCEPT, "image/*"),
        draw(&app, id, DrawingFormat::Jpeg)
    );
    assert_eq!(answer.bytes().await.unwrap(), file());
}

/// The client sees that the image is not whole.
#[tokio::test]
async fn an_image_that_breaks_off_is_no_whole_answer() {
    let app = TestApp::start().await;
    let id = submitted(&app, "?annotated=true").await;
    let drawings = app.worker_side().await.drawings();
    let stored = drawings.put(id, DrawingFormat::Jpeg, file()).await.unwrap();
    // As if its last piece were gone.
    let drawing = Drawing { bytes: 400_000, ..stored.drawing() };
    stored.keep();
    app.succeed_with(id, &[], Some(drawing)).await;
    let answer = get(&app, &format!("/v1/tasks/{id}/image"), header::ACCEPT, "*/*").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.bytes().await.is_err(), "it is shorter than its Content-Length");
}
