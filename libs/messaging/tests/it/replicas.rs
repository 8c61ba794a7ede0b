//! A replica that has not heard of the newest records yet.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    thread,
};

use async_nats::jetstream;
use domain::TaskId;
use messaging::{Messaging, MessagingConfig, Role};

use crate::fixture::{Fixture, job, success};

/// Answers direct reads of records with "there is none", as a replica does that lags behind. It
/// speaks the protocol itself: the client library sends no status.
fn lagging_replica(server: &str) {
    let stream = TcpStream::connect(server.trim_start_matches("nats://")).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let say = move |text: &str| (&stream).write_all(text.as_bytes()).unwrap();
    say("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n");
    say("SUB $JS.API.DIRECT.GET.KV_tasks.> 1\r\nPING\r\n");
    // The server knows of the subscription when it has answered the ping.
    while lines.next().unwrap().unwrap() != "PONG" {}
    thread::spawn(move || {
        while let Some(Ok(line)) = lines.next() {
            // MSG <subject> <subscription> <reply> <length>
            if let ["MSG", _, _, reply, _] = line.split(' ').collect::<Vec<_>>()[..] {
                let none = "NATS/1.0 404 Message Not Found\r\n\r\n";
                say(&format!("HPUB {reply} {0} {0}\r\n{none}\r\n", none.len()));
            } else if line == "PING" {
                say("PONG\r\n");
            }
        }
    });
}

/// The real server stops answering direct reads.
async fn no_direct_reads(raw: &jetstream::Context) {
    let mut config = raw.get_stream("KV_tasks").await.unwrap().cached_info().config.clone();
    config.allow_direct = false;
    raw.update_stream(&config).await.unwrap();
}

#[tokio::test]
async fn a_lagging_replica_makes_no_task_unknown() {
    let fixture = Fixture::start().await;
    let job = job();
    fixture.messaging.tasks().finish(&success(&job)).await.unwrap();
    let mut config = MessagingConfig::new(fixture.server.url(), Role::Api);
    config.replicas = 3;
    let of_three = Messaging::connect(config).await.unwrap();
    assert_eq!(of_three.tasks().get(job.task_id).await.unwrap(), Some(success(&job)));
    no_direct_reads(&fixture.raw().await).await;
    lagging_replica(&fixture.server.url());
    // Without replicas there is nobody else to ask.
    assert_eq!(fixture.messaging.tasks().get(job.task_id).await.unwrap(), None);
    assert_eq!(of_three.tasks().get(job.task_id).await.unwrap(), Some(success(&job)));
    assert_eq!(of_three.tasks().get(TaskId::generate()).await.unwrap(), None);
}
