//! What is sent, and how many requests at a time.

use std::collections::BTreeSet;

use outbound::{Client, Limits, RequestError, Roots};
use testkit::HttpServer;

use crate::names::{LIMITS, Names, body, client, get, ok, rules};

#[tokio::test]
async fn nothing_is_carried_along() {
    let server =
        HttpServer::start(|request| {
            Some(match request.path() {
            "/" => b"HTTP/1.1 302 Found\r\nset-cookie: a=b\r\nlocation: /2?token=x#fragment\r\n\r\n"
                .to_vec(),
            _ => ok("found"),
        })
        });
    let client = client(rules(&[server.port()], "127.0.0.1"), &Names::default());
    let url = format!("http://127.0.0.1:{}/#fragment", server.port());
    assert_eq!(body(&client, &url).await.unwrap(), "found");
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].head.starts_with("GET /2?token=x HTTP/1.1\r\n"), "{requests:?}");
    for request in requests {
        let names: BTreeSet<&str> = request
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name)
            .collect();
        let expected = ["accept-encoding", "connection", "host", "user-agent"];
        assert_eq!(names, BTreeSet::from(expected), "{request:?}");
        assert_eq!(request.header("host"), Some(&*format!("127.0.0.1:{}", server.port())));
    }
}

#[tokio::test]
async fn a_host_takes_no_more_than_its_share() {
    let silent = HttpServer::start(|request| (request.path() != "/silent").then(|| ok("found")));
    let names = Names::default()
        .answer("slow", &[&["127.0.0.1"]])
        .answer("a", &[&["127.0.0.1"]])
        .answer("b", &[&["127.0.0.1"]]);
    let limits = Limits { requests: 3, requests_per_host: 2, ..LIMITS };
    let client = Client::with_resolver(
        rules(&[silent.port()], "127.0.0.1"),
        limits,
        Roots::default(),
        names,
    );
    let url = |host: &str, path: &str| format!("http://{host}:{}/{path}", silent.port());
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (client, url) = (client.clone(), url("slow", "silent"));
            tokio::spawn(async move { get(&client, &url).await })
        })
        .collect();
    let arrived = async || (silent.requests().len() == 2).then_some(());
    testkit::eventually(LIMITS.total, arrived).await;
    assert_eq!(get(&client, &url("slow", "")).await.unwrap_err(), RequestError::Busy);
    let third = get(&client, &url("a", "")).await.unwrap();
    assert_eq!(get(&client, &url("b", "")).await.unwrap_err(), RequestError::Busy, "in all");
    drop(third);
    assert!(get(&client, &url("b", "")).await.is_ok());
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    let ended = async || (client.in_progress() == 0).then_some(());
    testkit::eventually(LIMITS.total, ended).await;
}
