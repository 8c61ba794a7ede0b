//! A replica that lags behind.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    thread,
};

use async_nats::jetstream;
use domain::{Job, ModelName, Sha256Digest, TaskId, TaskRecord};
use futures_util::{StreamExt, stream};
use messaging::{Messaging, MessagingConfig, Role};
use testkit::{NatsCluster, eventually};
use tokio::time::timeout;

use crate::fixture::{Fixture, TIMEOUT, begin, job, submission, success};

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
    let mut config = MessagingConfig::new(fixture.server.url().parse().unwrap(), Role::Api);
    config.replicas = 3;
    let of_three = Messaging::connect(config).await.unwrap();
    assert_eq!(of_three.tasks().get(job.task_id).await.unwrap(), Some(success(&job)));
    no_direct_reads(&fixture.raw().await).await;
    lagging_replica(&fixture.server.url());
    // Without replicas there is no other server to read from.
    assert_eq!(fixture.messaging.tasks().get(job.task_id).await.unwrap(), None);
    assert_eq!(of_three.tasks().get(job.task_id).await.unwrap(), Some(success(&job)));
    assert_eq!(of_three.tasks().get(TaskId::generate()).await.unwrap(), None);
}

/// Servers that store a bucket together have a word of their own for a key that somebody else is just
/// writing. It means what "there is one already" means.
#[tokio::test]
async fn what_two_write_at_once_is_no_error() {
    const TIMES: usize = 300;
    const AT_ONCE: usize = 16;
    let cluster = NatsCluster::start();
    let connect = async |role| {
        let config = MessagingConfig::new(cluster.url().parse().unwrap(), role);
        // Three servers on a busy machine take their time.
        let config = MessagingConfig { replicas: 3, request_timeout: TIMEOUT, ..config };
        Messaging::connect(config).await.unwrap()
    };
    let (api, worker) = (connect(Role::Api).await, connect(Role::Worker).await);
    // What is asked while a stream elects its leader may never be answered, and is asked again.
    let arranging =
        async || timeout(TIMEOUT / 10, api.provision([ModelName::default()])).await.ok()?.ok();
    eventually(2 * TIMEOUT, arranging).await;

    let (stored, run) = (api.tasks(), worker.tasks());
    let record = async |job: Job| {
        let queued = TaskRecord::queued(job.clone());
        let (stored, begun) = tokio::join!(stored.create_queued(&queued), begin(&run, &job));
        stored.unwrap();
        assert_eq!(begun.attempts, 1);
    };
    let jobs = stream::iter(std::iter::repeat_with(job).take(TIMES));
    jobs.for_each_concurrent(AT_ONCE, record).await;

    let (one, other) = (api.idempotency_keys(), worker.idempotency_keys());
    let claim = async |number: usize| {
        let key = Sha256Digest::of(format!("key-{number}"));
        let (submission, ids) = (submission("bus.jpg"), [(); 2].map(|()| TaskId::generate()));
        let (first, second) = tokio::join!(
            one.claim(key, ids[0], &submission),
            other.claim(key, ids[1], &submission)
        );
        assert_eq!(first.unwrap(), second.unwrap());
    };
    stream::iter(0..TIMES).for_each_concurrent(AT_ONCE, claim).await;
}
