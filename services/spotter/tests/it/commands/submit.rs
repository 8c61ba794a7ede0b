//! `spotter submit` with an unreliable API.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use messaging::{Messaging, MessagingConfig, Role};
use testkit::{Direction, TcpProxy, eventually, picture};

use crate::{
    harness::{Ended, System, TIMEOUT, spotter},
    reference::assert_bus,
};

#[tokio::test]
async fn a_name_that_is_not_utf_8_is_sent_and_shown_with_replacements() {
    let system = System::start();
    let _worker = system.worker();
    let folder = tempfile::tempdir().unwrap();
    let invalid = folder.path().join(OsStr::from_bytes(b"f\xfcr.jpg"));
    fs::copy(picture("bus.jpg"), &invalid).unwrap();
    let absent = folder.path().join(OsStr::from_bytes(b"\xff.jpg"));
    let submit = spotter(["submit", "--json", "--api", &system.base]).args([&invalid, &absent]);
    let ended = Ended::of(submit.arg(picture("bus.jpg")));
    assert_eq!(ended.code, Some(1), "one of three is absent: {ended:?}");
    let results: Vec<serde_json::Value> =
        ended.stdout.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results.len(), 3, "{ended:?}");
    assert!(results[0]["picture"].as_str().unwrap().ends_with("f\u{fffd}r.jpg"), "{results:?}");
    assert_bus(&results[0]["objects"]);
    assert!(results[1]["error"].is_string(), "{results:?}");
    assert_bus(&results[2]["objects"]);
}

#[tokio::test]
async fn a_task_is_awaited_while_the_api_cannot_be_reached() {
    let system = System::start();
    let port = system.base.rsplit(':').next().unwrap().parse().unwrap();
    let proxy = TcpProxy::start(port);
    // A client that polls a task has its id. The request is lost, and then the connection.
    let asked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked);
    proxy.drop_frames(Direction::ToServer, move |bytes| {
        let asks = bytes.starts_with(b"GET /v1/tasks/");
        seen.fetch_or(asks, Ordering::Relaxed);
        asks
    });
    let api = format!("http://127.0.0.1:{}", proxy.port());
    let submitting = spotter(["submit", "--json", "--api", &api]).arg(picture("bus.jpg")).start();

    eventually(TIMEOUT, async || asked.load(Ordering::Relaxed).then_some(())).await;
    proxy.cut();
    let config = MessagingConfig::new(system.nats.url().parse().unwrap(), Role::Cli);
    let queue = Messaging::connect(config).await.unwrap().queue();
    let _worker = system.worker();
    eventually(TIMEOUT, async || {
        let depth = queue.depth().await.unwrap();
        (depth.waiting == 0 && depth.in_progress == 0).then_some(())
    })
    .await;
    proxy.heal();

    let ended = tokio::task::spawn_blocking(move || Ended::after(submitting)).await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let result: serde_json::Value = serde_json::from_str(&ended.stdout[0]).unwrap();
    assert_bus(&result["objects"]);
}
