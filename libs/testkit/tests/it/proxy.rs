//! What the proxy does to a connection, a cluster that loses its leader, a disk that is full.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use testkit::{Direction, NatsCluster, NatsServer, SmallDisk, TcpProxy};

use crate::{A_WHILE, LONG};

/// A server that answers every byte with the same byte, until the process ends.
fn echo_server() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
            thread::spawn(move || io::copy(&mut from, &mut to));
        }
    });
    port
}

fn client(proxy: &TcpProxy) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// Sends this, and makes sure that nothing comes back for a while.
fn send_without_answer(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    stream.set_read_timeout(Some(A_WHILE)).unwrap();
    assert!(
        matches!(stream.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    );
    stream.set_read_timeout(Some(LONG)).unwrap();
}

/// What comes back.
fn echoed(stream: &mut TcpStream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes())?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_blackhole_loses_nothing_and_a_cut_closes_the_connection() {
    let proxy = TcpProxy::start(echo_server());
    let mut stream = client(&proxy);
    assert_eq!(echoed(&mut stream, "one").unwrap(), "one");
    proxy.blackhole();
    send_without_answer(&mut stream, "two");
    proxy.heal();
    let mut late = [0; 3];
    stream.read_exact(&mut late).unwrap();
    assert_eq!(&late, b"two");
    proxy.cut();
    assert!(echoed(&mut stream, "three").is_err());
    assert!(echoed(&mut client(&proxy), "four").is_err());
    proxy.heal();
    assert_eq!(echoed(&mut client(&proxy), "five").unwrap(), "five");
}

#[test]
fn a_cut_closes_connections_that_are_being_established() {
    // A server whose queue of connections is full: the kernel lets the next one wait.
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = server.local_addr().unwrap();
    let timeout = Duration::from_millis(200);
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, timeout) {
        waiting.push(stream);
    }
    let proxy = TcpProxy::start(address.port());
    let mut client = client(&proxy);
    // The proxy's own connection, which is being made (state 2).
    let connecting = format!("0100007F:{:04X} 02 ", address.port());
    wait_for(|| fs::read_to_string("/proc/net/tcp").unwrap().contains(&connecting).then_some(()));
    proxy.cut();
    thread::spawn(move || server.incoming().flatten().collect::<Vec<_>>());
    match client.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        other => panic!("it is still open: {other:?}"),
    }
    assert_eq!(proxy.connections(), 0);
}

#[test]
fn a_delay_applies_in_each_direction() {
    let proxy = TcpProxy::start(echo_server());
    proxy.delay(Duration::from_millis(60));
    let mut stream = client(&proxy);
    let started = Instant::now();
    assert_eq!(echoed(&mut stream, "one").unwrap(), "one");
    assert!(started.elapsed() >= Duration::from_millis(120));
}

#[test]
fn only_the_unwanted_messages_of_one_direction_are_dropped() {
    let proxy = TcpProxy::for_nats(echo_server());
    let wanted = "PUB good 4\r\nbad!\r\n";
    proxy.drop_frames(Direction::ToServer, |frame| frame.starts_with(b"PUB bad"));
    let mut stream = client(&proxy);
    stream.write_all(b"PUB bad 2\r\nhi\r\n").unwrap();
    assert_eq!(echoed(&mut stream, wanted).unwrap(), wanted);
    assert_eq!(proxy.frames_dropped(), 1);
    proxy.drop_frames(Direction::ToClient, |frame| frame.starts_with(b"PUB bad"));
    stream.write_all(b"PUB bad 2\r\nhi\r\n").unwrap();
    assert_eq!(echoed(&mut stream, wanted).unwrap(), wanted);
    assert_eq!(proxy.frames_dropped(), 2);
}

const STREAM: &str = r#"{"name":"S","subjects":["s"],"storage":"file","num_replicas":3}"#;

#[test]
fn a_cluster_elects_another_leader_when_the_first_is_killed() {
    let mut cluster = NatsCluster::start();
    let created = cluster.nodes()[0].request("$JS.API.STREAM.CREATE.S", STREAM).unwrap();
    assert!(created.contains("\"did_create\":true"), "{created}");
    let first = wait_for(|| cluster.stream_leader("S"));
    cluster.kill(first);
    let second = wait_for(|| cluster.stream_leader("S"));
    assert_ne!(first, second);
    cluster.restart(first);
    wait_for(|| cluster.is_healthy().then_some(()));
}

fn wait_for<T>(mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "it did not come to be");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_on_a_full_disk_stores_nothing_more() {
    let Some(disk) = SmallDisk::mount(16 << 20) else {
        eprintln!("SKIPPED: this user may not mount a small disk");
        return;
    };
    let disk = Arc::new(disk);
    let server = NatsServer::builder().disk(&disk).jetstream_max_store(1 << 30).start();
    let stream = STREAM.replace(":3", ":1");
    assert!(server.request("$JS.API.STREAM.CREATE.S", &stream).is_some());
    assert!(server.request("s", "stored").unwrap().contains("\"seq\":1"));
    disk.fill();
    let refused = server.request("s", &"x".repeat(500_000));
    assert!(refused.is_none_or(|answer| !answer.contains("\"seq\":2")));
    disk.make_room();
}
