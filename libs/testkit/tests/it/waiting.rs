//! A subscription is waited for before anything is published to it.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use testkit::{NatsCluster, NatsServer};

/// A client without a library: what it has sent may still be in transit, as after `flush`.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(server: &NatsServer) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Self(BufReader::new(stream));
        client.say("CONNECT {\"verbose\":false}\r\nPING\r\n");
        client.wait_for("PONG");
        client
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn wait_for(&mut self, start: &str) {
        let mut line = String::new();
        while !line.starts_with(start) {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "{start}: the server hung up");
        }
    }
}

#[tokio::test]
async fn what_is_published_after_it_reaches_a_subscription() {
    let server = NatsServer::start();
    let (mut hears, mut says) = (Client::connect(&server), Client::connect(&server));
    for number in 0..50 {
        let subject = format!("subject.{number}");
        assert!(!server.is_subscribed_to(&subject));
        hears.say(&format!("SUB {subject} {number}\r\n"));
        server.wait_until_subscribed(&subject).await;
        says.say(&format!("PUB {subject} 0\r\n\r\n"));
        hears.wait_for(&format!("MSG {subject} "));
    }
}

#[tokio::test]
async fn what_any_node_publishes_after_it_reaches_a_subscription() {
    let cluster = NatsCluster::start();
    let nodes = cluster.nodes();
    let mut hears = Client::connect(&nodes[0]);
    let mut others: Vec<Client> = nodes.iter().map(Client::connect).collect();
    for number in 0..50 {
        let subject = format!("subject.{number}");
        hears.say(&format!("SUB {subject} {number}\r\n"));
        cluster.wait_until_subscribed(&subject).await;
        for other in &mut others {
            other.say(&format!("PUB {subject} 0\r\n\r\n"));
        }
        for _ in nodes {
            hears.wait_for(&format!("MSG {subject} "));
        }
    }
}
