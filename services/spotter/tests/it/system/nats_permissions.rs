//! The system as processes, each with the login and the permissions of its role in `deploy/nats`.

use std::{fs, time::Duration};

use domain::{DetectionSettings, Job, ModelName, TaskId};
use messaging::{Messaging, MessagingConfig, Role, Settlement};
use serde_json::Value;
use testkit::{NatsServer, picture};

use crate::{
    harness::{Ended, System, spotter},
    reference::assert_bus,
};

/// Runs `spotter setup` for the models that are installed here.
fn set_up(url: &str) -> Ended {
    let command = spotter(["setup"]).env("NATS_URL", url).env("MODELS", "yolov8n,yolo11n");
    Ended::of(command)
}

#[tokio::test]
async fn the_system_runs_with_a_login_for_each_role() {
    let nats = NatsServer::builder().roles().start();
    for part in ["api", "worker"] {
        let command = spotter([part]).env("PORT", "0").env("NATS_URL", nats.url_as(part));
        let ended = Ended::of(command.env("CONCURRENCY", "1"));
        assert_eq!(ended.code, Some(69), "{ended:?}");
        let said = ended.stderr.last().unwrap();
        assert!(said.contains("stream JOBS is missing") && said.contains("setup"), "{said}");
    }
    for (outcome, lines) in [("created", 21), ("unchanged", 21)] {
        let ended = set_up(&nats.url_as("setup"));
        assert_eq!((ended.code, ended.stdout.len()), (Some(0), lines), "{ended:?}");
        assert!(ended.stdout.iter().all(|line| line.ends_with(outcome)), "{ended:?}");
    }

    let urls = ["api", "worker"].map(|part| nats.url_as(part));
    let api = [("NATS_URL", urls[0].as_str()), ("RESPONSE_CACHE_SECONDS", "0")];
    let system = System::start_on(nats, &api);
    let poison = poisoned(&system.nats).await;
    let worker = [("NATS_URL", urls[1].as_str()), ("MAX_ATTEMPTS", "1")];
    let _worker = system.worker_with(&worker);
    let small = fs::read(picture("bus.jpg")).unwrap();
    let mut large = small.clone();
    // Bytes after the end of the JPEG are part of the file: it exceeds the inline limit.
    large.resize(2 << 20, 7);
    for bytes in [small, large] {
        let id = system.start_task("bus.jpg", bytes).await;
        system.terminal(id).await;
        assert_bus(&system.result(id).await["result"]);
    }

    system.terminal(poison).await;
    let dlq = spotter(["dlq", "list", "--json", "--nats-url", &system.nats.url_as("operator")]);
    let ended = Ended::of(dlq);
    let listed: Value = serde_json::from_str(&ended.stdout[0]).unwrap();
    assert_eq!(listed["id"], poison.to_string());

    let snapshot = system.v1_get("/v1/operations").await;
    assert_eq!(snapshot["workers"].as_array().unwrap().len(), 1, "{snapshot}");
    assert_eq!(snapshot["apis"].as_array().unwrap().len(), 1, "{snapshot}");
    assert_eq!(
        (&snapshot["tasks"]["succeeded"], &snapshot["dead_letters"]),
        (&2.into(), &1.into())
    );
    let of_bus = snapshot["classes"].as_array().unwrap().iter().find(|one| one["label"] == "bus");
    assert_eq!(of_bus.unwrap()["count"], 2, "{snapshot}");
    let requeue = format!("{}/v1/dead-letters/{poison}/requeue", system.base);
    let requeued: Value = system.http.post(requeue).send().await.unwrap().json().await.unwrap();
    let task = requeued["task_id"].as_str().unwrap().parse().unwrap();
    system.terminal(task).await;
    assert_bus(&system.result(task).await["result"]);
    assert_eq!(system.v1_get("/v1/dead-letters").await["dead_letters"], Value::Array(Vec::new()));

    let transcript = system.nats.transcript();
    let denied: Vec<_> = transcript.lines().filter(|line| line.contains("Violation")).collect();
    // The two before the set-up, and none since.
    assert_eq!(denied.len(), 2, "{denied:#?}");
    assert!(denied.iter().all(|line| line.contains("$JS.API.STREAM.CREATE.JOBS")), "{denied:#?}");
}

/// Submits a picture whose first run seems to have killed its worker.
async fn poisoned(nats: &NatsServer) -> TaskId {
    let job =
        Job::new("bus.jpg".to_owned(), "yolov8n".parse().unwrap(), DetectionSettings::default());
    let connect = async |part, role| {
        Messaging::connect(MessagingConfig::new(nats.url_as(part).parse().unwrap(), role)).await
    };
    let api = connect("api", Role::Api).await.unwrap();
    api.queue().submit(&job, fs::read(picture("bus.jpg")).unwrap().into()).await.unwrap();
    let worker = connect("worker", Role::Worker).await.unwrap();
    let mut deliveries = worker.queue().deliveries([ModelName::default()]);
    // The server redelivers it as after `ack_wait`.
    deliveries.next(1).await.settle(Settlement::RetryAfter(Duration::ZERO)).await.unwrap();
    deliveries.stop().await;
    job.task_id
}
