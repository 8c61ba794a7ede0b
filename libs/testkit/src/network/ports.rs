//! Free TCP ports, and plain questions over TCP.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use parking_lot::Mutex;

/// How long a server that answers is waited for. Only a test that fails waits so long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a server is waited for that may not be up yet: it is asked again.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The lowest port tried. Well-known services lie below.
const LOWEST: u16 = 20_000;

/// A TCP port of 127.0.0.1 that is free, and that no other caller of this function is given until this
/// process ends: tests run side by side, and between the choice of a port and the start of the server
/// that listens on it, or while that server is down, another test must not take it.
///
/// The reservation is a UDP socket on the same number, which the kernel gives to one process and takes
/// back when that process dies. Nothing under test speaks UDP.
///
/// The port lies below those that the operating system gives to outgoing connections and to listeners
/// on port 0. Programs other than these tests may still take it: be ready to try again.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let end = first_ephemeral_port().max(LOWEST + 1000);
    for _ in 0..1000 {
        // Each new state is seeded by the operating system: randomness without a dependency.
        let random = RandomState::new().build_hasher().finish();
        let offset = random % u64::from(end - LOWEST);
        let port = LOWEST + u16::try_from(offset).unwrap_or_default();
        let Ok(reservation) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            RESERVED.lock().push(reservation);
            return port;
        }
    }
    panic!("no port from {LOWEST} to {end} is free")
}

/// `127.0.0.1:` and a [`free_port`], for a setting that takes an address.
#[must_use]
pub fn free_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

fn first_ephemeral_port() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first = range.ok().and_then(|range| range.split_ascii_whitespace().next()?.parse().ok());
    first.unwrap_or(32_768)
}

/// Sends `question` and reads until `enough` says so or the peer closes. `None` if nobody listens there;
/// what has arrived by then if the peer is silent for long.
pub(crate) fn ask(port: u16, question: &[u8], enough: fn(&str) -> bool) -> Option<String> {
    ask_within(ANSWER_TIMEOUT, port, question, enough)
}

/// As [`ask`], for a peer that may not be able to answer yet: silence is taken for that after a second.
pub(crate) fn probe(port: u16, question: &[u8], enough: fn(&str) -> bool) -> Option<String> {
    ask_within(PROBE_TIMEOUT, port, question, enough)
}

fn ask_within(
    patience: Duration,
    port: u16,
    question: &[u8],
    enough: fn(&str) -> bool,
) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    stream.write_all(question).ok()?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(length) => answer.extend_from_slice(&chunk[..length]),
        }
        if enough(&String::from_utf8_lossy(&answer)) {
            break;
        }
    }
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// The JSON at `http://127.0.0.1:<port><path>`.
pub(crate) fn get(port: u16, path: &str) -> Option<serde_json::Value> {
    let question = format!("GET {path} HTTP/1.0\r\n\r\n");
    let answer = ask(port, question.as_bytes(), |_| false)?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}
