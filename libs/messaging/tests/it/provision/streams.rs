//! Streams, consumer and buckets: made, made again, changed.

use std::time::Duration;

use async_nats::jetstream::stream::{self, DiscardPolicy, Republish, RetentionPolicy};
use domain::ModelName;
use messaging::{Messaging, MessagingConfig, MessagingError, QueueLimits, Role};
use testkit::NatsServer;

use crate::fixture::Fixture;

#[tokio::test]
async fn the_queue_is_as_designed() {
    let fixture = Fixture::start().await;
    let raw = fixture.raw().await;
    let jobs = raw.get_stream("JOBS").await.unwrap();
    let config = &jobs.cached_info().config;
    assert_eq!(config.retention, RetentionPolicy::WorkQueue);
    assert_eq!(config.discard, DiscardPolicy::New);
    assert_eq!(config.max_age, Duration::ZERO);
    assert_eq!(config.duplicate_window, Duration::from_secs(600));
    let consumer = jobs.consumer_info("normal-yolov8n").await.unwrap().config;
    assert_eq!((consumer.max_deliver, consumer.ack_wait), (-1, Duration::from_secs(30)));
    let tasks = raw.get_stream("KV_tasks").await.unwrap().cached_info().config.clone();
    assert_eq!((tasks.max_messages_per_subject, tasks.allow_direct), (1, true));
    assert_eq!(tasks.max_age, Duration::from_secs(24 * 3600));
    // A replica that lags behind must not be asked whether a picture is gone.
    let pictures = raw.get_stream("OBJ_pictures").await.unwrap().cached_info().config.clone();
    assert!(!pictures.allow_direct);
}

#[tokio::test]
async fn a_picture_is_kept_for_as_long_as_its_record() {
    let day = Duration::from_secs(24 * 3600);
    for (result_ttl, kept) in [(day / 2, day), (3 * day, 3 * day)] {
        let fixture = Fixture::configured(|config| config.result_ttl = result_ttl).await;
        let pictures = fixture.raw().await.get_stream("OBJ_pictures").await.unwrap();
        assert_eq!(pictures.cached_info().config.max_age, kept);
    }
}

#[tokio::test]
async fn a_drawing_is_kept_for_longer_than_its_record() {
    let fixture = Fixture::start().await;
    let drawings = fixture.raw().await.get_stream("DRAWINGS").await.unwrap();
    let config = &drawings.cached_info().config;
    assert!(config.max_age > Duration::from_secs(24 * 3600));
    assert_eq!((config.discard, config.max_bytes), (DiscardPolicy::New, 256 << 20));
    assert!(!config.allow_direct, "a replica that lags behind must not be asked");
}

#[tokio::test]
async fn setting_up_again_changes_nothing() {
    let fixture = Fixture::start().await;
    fixture.submit_many(3).await;
    let raw = fixture.raw().await;
    let before = raw.get_stream("JOBS").await.unwrap().cached_info().clone();
    fixture.messaging.provision([ModelName::default()]).await.unwrap();
    let after = raw.get_stream("JOBS").await.unwrap().cached_info().clone();
    assert_eq!(before.config, after.config);
    fixture.depth_becomes((3, 0)).await;
}

#[tokio::test]
async fn many_processes_may_set_up_at_once() {
    let server = NatsServer::start();
    let mut starting = Vec::new();
    for _ in 0..8 {
        let config = MessagingConfig::new(server.url().parse().unwrap(), Role::Worker);
        starting.push(tokio::spawn(async move {
            Messaging::connect(config).await.unwrap().provision([ModelName::default()]).await
        }));
    }
    for one in starting {
        one.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn changed_settings_are_taken_over_and_no_job_is_dropped() {
    let fixture = Fixture::start().await;
    fixture.submit_many(5).await;
    let mut config = MessagingConfig::new(fixture.server.url().parse().unwrap(), Role::Api);
    // Fewer than there are: those that are in stay in.
    config.limits = QueueLimits { max_bytes: 1 << 20, max_messages: 2 };
    config.ack_wait = Duration::from_secs(7);
    config.result_ttl = Duration::from_secs(60);
    Messaging::connect(config).await.unwrap().provision([ModelName::default()]).await.unwrap();
    let raw = fixture.raw().await;
    let jobs = raw.get_stream("JOBS").await.unwrap();
    assert_eq!(jobs.cached_info().config.max_messages, 2);
    assert_eq!(jobs.consumer_info("normal-yolov8n").await.unwrap().config.ack_wait.as_secs(), 7);
    let tasks = raw.get_stream("KV_tasks").await.unwrap().cached_info().config.clone();
    assert_eq!(tasks.max_age, Duration::from_secs(60));
    fixture.depth_becomes((5, 0)).await;
}

#[tokio::test]
async fn what_an_operator_has_set_stays() {
    let fixture = Fixture::start().await;
    let raw = fixture.raw().await;
    let mut config = raw.get_stream("JOBS").await.unwrap().cached_info().config.clone();
    config.max_message_size = 5 << 20;
    config.max_messages = 77;
    let republish = Republish {
        source: "jobs.>".to_owned(),
        destination: "copies.>".to_owned(),
        headers_only: true,
    };
    config.republish = Some(republish.clone());
    raw.update_stream(&config).await.unwrap();
    fixture.messaging.provision([ModelName::default()]).await.unwrap();
    let after = raw.get_stream("JOBS").await.unwrap().cached_info().config.clone();
    assert_eq!((after.max_message_size, after.max_messages), (5 << 20, 10_000));
    assert_eq!(after.republish, Some(republish));
}

#[tokio::test]
async fn a_bucket_without_republishing_gets_it() {
    let fixture = Fixture::start().await;
    let raw = fixture.raw().await;
    let made = raw.get_stream("KV_tasks").await.unwrap().cached_info().config.clone();
    assert!(made.republish.is_some());
    let silent = stream::Config { republish: None, ..made.clone() };
    raw.update_stream(&silent).await.unwrap();
    fixture.messaging.provision([ModelName::default()]).await.unwrap();
    let after = raw.get_stream("KV_tasks").await.unwrap().cached_info().config.clone();
    assert_eq!(after.republish, made.republish);
}

#[tokio::test]
async fn what_the_server_refuses_is_said() {
    let small = NatsServer::builder().jetstream_max_store(1 << 20).start();
    let roomy = NatsServer::start();
    let mut replicated = MessagingConfig::new(roomy.url().parse().unwrap(), Role::Api);
    replicated.replicas = 3;
    for config in [MessagingConfig::new(small.url().parse().unwrap(), Role::Api), replicated] {
        let error = Messaging::connect(config)
            .await
            .unwrap()
            .provision([ModelName::default()])
            .await
            .unwrap_err();
        assert!(matches!(error, MessagingError::Provision { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn too_little_storage_is_said_by_the_variables_name_and_with_figures() {
    let small = NatsServer::builder().jetstream_max_store(1 << 20).start();
    let config = MessagingConfig::new(small.url().parse().unwrap(), Role::Api);
    let error = Messaging::connect(config)
        .await
        .unwrap()
        .provision([ModelName::default()])
        .await
        .unwrap_err()
        .to_string();
    for part in [
        "QUEUE_MAX_BYTES (1.00 GiB each",
        "DRAWINGS_MAX_BYTES (256.0 MiB)",
        "2.75 GiB",
        "512.0 MiB",
        "3.67 GiB",
        "max_file_store",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}
