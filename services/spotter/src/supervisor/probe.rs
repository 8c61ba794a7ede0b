//! Identifies a server, so that another one on the same port is not mistaken for a child process.

use std::time::Duration;

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long one answer may take; the caller retries.
const TIMEOUT: Duration = Duration::from_secs(2);
/// More than either server sends. A longer answer is from something else.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// The server that is expected on a loopback port.
#[derive(Debug, Clone)]
pub(super) enum Server {
    /// NATS, with a unique server name.
    Nats { port: u16, name: String },
    /// Redis, which reports its process id.
    Redis { port: u16 },
}

impl Server {
    /// Whether it is this server that answers, running as process `pid`.
    pub(super) async fn is(&self, pid: u32) -> bool {
        match self {
            // The server speaks first: `INFO {"server_name":"…", …}`.
            Self::Nats { port, name } => {
                let found = ask(*port, "", |line| {
                    let info: NatsInfo = serde_json::from_str(line.strip_prefix("INFO ")?).ok()?;
                    Some(info.server_name)
                });
                found.await.as_ref() == Some(name)
            }
            Self::Redis { port } => {
                let process = |line: &str| line.strip_prefix("process_id:")?.parse().ok();
                ask(*port, "INFO server\r\n", process).await == Some(pid)
            }
        }
    }
}

#[derive(Deserialize)]
struct NatsInfo {
    server_name: String,
}

/// Sends `question` and returns the first result of `wanted` for a line of the answer.
async fn ask<T>(port: u16, question: &str, wanted: impl Fn(&str) -> Option<T>) -> Option<T> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(question.as_bytes()).await.ok()?;
        let mut lines = BufReader::new(stream.take(LONGEST_ANSWER)).lines();
        while let Some(line) = lines.next_line().await.ok()? {
            if let Some(found) = wanted(line.trim_end()) {
                return Some(found);
            }
        }
        None
    };
    timeout(TIMEOUT, exchange).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use testkit::{NatsServer, RedisServer};

    use super::*;

    #[tokio::test]
    async fn another_server_is_not_mistaken_for_a_child() {
        let (nats, redis) = (NatsServer::start(), RedisServer::start());
        let free = testkit::free_port();
        // Other servers of the same kind, of the other kind, and none at all.
        for port in [nats.port(), redis.port(), free] {
            assert!(!Server::Nats { port, name: "spotter-1".to_owned() }.is(1).await);
            assert!(!Server::Redis { port }.is(1).await);
        }
    }
}
