//! A resolver with scripted answers, and a client that uses it.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use outbound::{Client, Limits, RequestError, Resolver, Response, Roots, UrlRules};
use testkit::http_answer;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longer than anything takes on a busy machine; only a failing test waits for it.
pub(crate) const LIMITS: Limits = Limits {
    connect: Duration::from_secs(60),
    header: Duration::from_secs(60),
    total: Duration::from_secs(60),
    requests: 8,
    requests_per_host: 8,
};

/// Reads up to the empty line.
pub(crate) async fn read_head(connection: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A 200 with this body.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    http_answer("200 OK", "", body.as_bytes())
}

pub(crate) fn redirect(status: u16, location: &str) -> Vec<u8> {
    http_answer(&format!("{status} Moved"), &format!("location: {location}\r\n"), b"")
}

/// Resolves names by a script: each lookup of a name takes its next answer, and the last one again and again.
#[derive(Clone, Default)]
pub(crate) struct Names {
    answers: Arc<Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>>,
    lookups: Arc<Mutex<Vec<String>>>,
}

impl Names {
    pub(crate) fn answer(self, name: &str, answers: &[&[&str]]) -> Self {
        let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        let answers = answers.iter().map(parse).collect();
        self.answers.lock().unwrap().insert(name.to_owned(), answers);
        self
    }

    /// The names that were looked up.
    pub(crate) fn lookups(&self) -> Vec<String> {
        self.lookups.lock().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl Resolver for Names {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.lookups.lock().unwrap().push(name.to_owned());
        let mut known = self.answers.lock().unwrap();
        let answers = known.get_mut(name.trim_end_matches('.'));
        let answers = answers.ok_or_else(|| io::Error::other("no such name"))?;
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Ok(next.unwrap_or_default())
    }
}

/// Rules that allow http, these ports, and what `allowed` says.
pub(crate) fn rules(ports: &[u16], allowed: &str) -> UrlRules {
    UrlRules { http: true, ports: ports.to_vec(), allowed: allowed.parse().unwrap() }
}

pub(crate) fn client(rules: UrlRules, names: &Names) -> Client {
    Client::with_resolver(rules, LIMITS, Roots::default(), names.clone())
}

pub(crate) async fn get(client: &Client, url: &str) -> Result<Response, RequestError> {
    let target = client.rules().check(url)?;
    client.get(target, &Default::default()).await
}

/// The whole body of the answer.
pub(crate) async fn body(client: &Client, url: &str) -> Result<String, RequestError> {
    let mut response = get(client, url).await?;
    let mut body = Vec::new();
    while let Some(bytes) = response.next().await? {
        body.extend_from_slice(&bytes);
    }
    Ok(String::from_utf8(body).unwrap())
}
