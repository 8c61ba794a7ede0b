//! A server on this machine that gives scripted answers, one per connection.

use std::{sync::Arc, time::Duration};

use client::{Client, Timeouts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Mutex,
    task::JoinHandle,
};

/// Answers each connection's one request with the next of its answers; it ends with this value.
pub(crate) struct ScriptedApi {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl ScriptedApi {
    /// `answers` are whole HTTP messages. An empty one closes the connection without an answer, also where the request
    /// breaks off.
    pub(crate) async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let server = tokio::spawn(async move {
            for answer in answers {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !is_whole(&request) {
                    if connection.read_buf(&mut request).await.unwrap() == 0 {
                        assert!(answer.is_empty(), "half a request");
                        break;
                    }
                }
                seen.lock().await.push(String::from_utf8_lossy(&request).into_owned());
                connection.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { address, requests, server }
    }

    pub(crate) fn client(&self) -> Client {
        let timeouts = Timeouts { request: Duration::from_secs(30), ..Timeouts::default() };
        Client::new(&format!("http://bob:secret@{}/", self.address), timeouts).unwrap()
    }

    /// Every request, once all answers have been given.
    pub(crate) async fn requests(self) -> Vec<String> {
        self.server.await.unwrap();
        let requests = self.requests.lock().await;
        requests.clone()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    request.len() >= head.len() + 4 + length
}

/// An answer with a JSON body, after which the connection is closed.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}
