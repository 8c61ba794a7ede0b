//! `spotter submit` against an API that comes and goes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use messaging::{Messaging, MessagingConfig, Role};
use testkit::{Direction, TcpProxy, eventually, picture};

use crate::{
    reference::assert_bus,
    whole::{Ended, PATIENCE, System, spotter},
};

#[tokio::test]
async fn a_task_is_waited_for_while_the_api_cannot_be_reached() {
    let system = System::start();
    let port = system.base.rsplit(':').next().unwrap().parse().unwrap();
    let proxy = TcpProxy::start(port);
    // Whoever asks for a task has its id. The question gets lost, and then the connection.
    let asked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked);
    proxy.drop_frames(Direction::ToServer, move |bytes| {
        let asks = bytes.starts_with(b"GET /v1/tasks/");
        seen.fetch_or(asks, Ordering::Relaxed);
        asks
    });
    let api = format!("http://127.0.0.1:{}", proxy.port());
    let submitting = spotter(["submit", "--json", "--api", &api]).arg(picture("bus.jpg")).start();

    eventually(PATIENCE, async || asked.load(Ordering::Relaxed).then_some(())).await;
    proxy.cut();
    let config = MessagingConfig::new(system.nats.url(), Role::Cli);
    let queue = Messaging::connect(config).await.unwrap().queue();
    let _worker = system.worker();
    eventually(PATIENCE, async || {
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
