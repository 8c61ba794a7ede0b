//! Events of an object store, whose pictures are fetched by presigned URLs.

use std::fs;

use serde_json::{Value, json};
use testkit::{HttpServer, http_answer, picture};

use super::{
    page::{OBJECT_STORE, blocks},
    shell::{Shell, python_path},
};
use crate::harness::{Ended, System};

/// An event as "Event message structure" in the user guide of Amazon S3 shows it.
fn event(name: &str, key: &str) -> Value {
    json!({ "Records": [{
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-west-2",
        "eventTime": "1970-01-01T00:00:00.000Z",
        "eventName": name,
        "userIdentity": { "principalId": "AIDAJDPLRKLG7UEXAMPLE" },
        "requestParameters": { "sourceIPAddress": "172.16.0.1" },
        "responseElements": {
            "x-amz-request-id": "C3D13FE58DE4C810",
            "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5Wp6S7S/JRWeUWerMUE5JgHvANOjpD"
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "testConfigRule",
            "bucket": {
                "name": "amzn-s3-demo-bucket",
                "ownerIdentity": { "principalId": "A3NL1KOZZKExample" },
                "arn": "arn:aws:s3:::amzn-s3-demo-bucket"
            },
            "object": {
                "key": key,
                "size": 1024,
                "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
                "sequencer": "0055AED6DCD90281E5"
            }
        }
    }]})
}

/// An object store with one object, which answers signed requests only.
fn object_store() -> HttpServer {
    let cup = fs::read(picture("coffee.png")).unwrap();
    HttpServer::start(move |request| {
        let path = request.path();
        let is_signed = path.contains("X-Amz-Signature=") && path.contains("X-Amz-Expires=600");
        Some(match path.split_once('?') {
            Some(("/amzn-s3-demo-bucket/door/a%20cup.png", _)) if is_signed => {
                http_answer("200 OK", "", &cup)
            }
            Some(("/amzn-s3-demo-bucket/notes.txt", _)) if is_signed => {
                http_answer("200 OK", "", b"no picture")
            }
            _ => http_answer("403 Forbidden", "", b""),
        })
    })
}

fn shell(api: &str, store: &HttpServer, packages: &str) -> Shell {
    Shell::new(api)
        .with("PYTHONPATH", packages)
        .with("AWS_ENDPOINT_URL", &store.origin())
        .with("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        .with("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
}

fn submit(shell: &Shell, event: &Value) -> Ended {
    fs::write(shell.path("event.json"), event.to_string()).unwrap();
    let [command] = blocks(OBJECT_STORE, "bash");
    shell.ended(&command)
}

#[tokio::test]
async fn the_picture_of_an_event_is_submitted_once() {
    let Some(packages) = python_path("s3_event.py") else { return };
    let store = object_store();
    let system = System::start_with(&[("FETCH_ALLOW", &store.origin())]);
    let _worker = system.worker();
    let shell = shell(&system.base, &store, &packages);

    let put = event("ObjectCreated:Put", "door/a+cup.png");
    let accepted = submit(&shell, &put);
    assert_eq!(accepted.code, Some(0), "{accepted:?}");
    let accepted: Value = serde_json::from_str(&accepted.stdout.concat()).unwrap();
    let id = accepted["task_id"].as_str().unwrap();
    let task = system.terminal(id.parse().unwrap()).await;
    assert_eq!(task.objects[0].label, "cup");
    let metadata = json!({ "bucket": "amzn-s3-demo-bucket", "key": "door/a cup.png" });
    assert_eq!(accepted["metadata"], metadata);

    // The same event again, by SNS, and as MinIO names it.
    let minio = event("s3:ObjectCreated:Put", "door%2Fa+cup.png");
    let by_sns = json!({ "Type": "Notification", "Message": put.to_string() });
    for again in [by_sns, minio] {
        let again = submit(&shell, &again);
        let again: Value = serde_json::from_str(&again.stdout.concat()).unwrap();
        assert_eq!(again["task_id"], id);
    }

    let requests = store.requests().len();
    let test =
        json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "amzn-s3-demo-bucket" });
    for nothing in [test, event("ObjectRemoved:Delete", "door/a+cup.png")] {
        let ended = submit(&shell, &nothing);
        assert_eq!((ended.code, ended.stdout.len()), (Some(0), 0), "{ended:?}");
    }
    assert_eq!(store.requests().len(), requests);
}

#[test]
fn only_what_may_succeed_later_stays_in_the_queue() {
    let Some(packages) = python_path("s3_event.py") else { return };
    let store = object_store();
    let system = System::start_with(&[("FETCH_ALLOW", &store.origin())]);
    // The longest key, which does not fit into the metadata of a task.
    let put = event("ObjectCreated:Put", &"k".repeat(1024));
    let refused = submit(&shell(&system.base, &store, &packages), &put);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.concat().contains("urn:problem-type:spotter:"), "{refused:?}");
    assert_eq!(store.requests().len(), 1, "the picture is fetched, and there is none");
    let text = event("ObjectCreated:Put", "notes.txt");
    let no_picture = submit(&shell(&system.base, &store, &packages), &text);
    assert_eq!(no_picture.code, Some(0), "{no_picture:?}");
    assert!(no_picture.stderr.concat().contains("no JPEG"), "{no_picture:?}");
    let away = submit(&shell("http://127.0.0.1:9", &store, &packages), &put);
    assert_eq!(away.code, Some(1), "{away:?}");
    assert!(away.stderr.concat().contains("does not answer"), "{away:?}");
}
