//! Following the state of the system.

use client::ClientError;
use serde_json::Value;

use crate::scripted_api::{ScriptedApi, answer};

fn snapshot() -> Value {
    let document: Value = serde_json::from_str(include_str!("../../../../openapi.json")).unwrap();
    document["components"]["schemas"]["OperationsSnapshot"]["example"].clone()
}

#[tokio::test]
async fn the_stream_is_read_to_its_end_and_past_comments() {
    let event = format!("event: snapshot\ndata: {}\n\n", snapshot());
    let body = format!(": hello\n\n{event}: still here\n\n{event}");
    let broken = answer("200 OK", "", &event).replace("length: ", "length: 9");
    let refused = answer("403 Forbidden", "", r#"{"detail":"the key lacks the scope admin"}"#);
    let api = ScriptedApi::start(vec![answer("200 OK", "", &body), broken, refused]).await;
    let client = api.client();

    let mut whole = client.operations().await.unwrap();
    for _ in 0..2 {
        assert_eq!(whole.next().await.unwrap().unwrap().queue.waiting, Some(12));
    }
    assert!(whole.next().await.unwrap().is_none());
    let mut broken = client.operations().await.unwrap();
    assert!(broken.next().await.unwrap().is_some());
    assert!(broken.next().await.unwrap_err().is_transient());
    let Err(refused) = client.operations().await else { panic!("it is refused") };
    assert!(matches!(refused, ClientError::Refused { status: 403, .. }), "{refused:?}");
    for request in api.requests().await {
        assert!(request.starts_with("GET /v1/operations/events HTTP/1.1"), "{request}");
    }
}
