//! Free TCP ports, and plain requests over TCP.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use parking_lot::Mutex;

/// How long a request may take. Only a failing test waits this long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a request may take to a server that may not be up yet. The caller retries.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The lowest port tried. Well-known services lie below.
const LOWEST: u16 = 20_000;

/// A free TCP port of 127.0.0.1, reserved until this process ends: tests run in parallel, and another test must not
/// take the port before the server listens on it, or while the server is down.
///
/// The reservation is a UDP socket on the same number, which the kernel releases when this process ends. Nothing under
/// test speaks UDP.
///
/// The port lies below the range for outgoing connections and for listeners on port 0. Programs other than these tests
/// may still take it: the caller must be prepared to retry.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let end = first_ephemeral_port().max(LOWEST + 1000);
    for _ in 0..1000 {
        // Every new state is seeded by the operating system: randomness without a dependency.
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

/// Sends `request` and reads until `is_complete` or until the peer closes. `None` if the connection fails; what has
/// arrived if the peer is silent for too long.
pub(crate) fn send(port: u16, request: &[u8], is_complete: fn(&str) -> bool) -> Option<String> {
    send_within(ANSWER_TIMEOUT, port, request, is_complete)
}

/// As [`send`], with a timeout of a second, for a peer that may not be able to answer yet.
pub(crate) fn probe(port: u16, request: &[u8], is_complete: fn(&str) -> bool) -> Option<String> {
    send_within(PROBE_TIMEOUT, port, request, is_complete)
}

fn send_within(
    timeout: Duration,
    port: u16,
    request: &[u8],
    is_complete: fn(&str) -> bool,
) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, timeout).ok()?;
    stream.set_read_timeout(Some(timeout)).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(length) => answer.extend_from_slice(&chunk[..length]),
        }
        if is_complete(&String::from_utf8_lossy(&answer)) {
            break;
        }
    }
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// The JSON at `http://127.0.0.1:<port><path>`.
pub(crate) fn get(port: u16, path: &str) -> Option<serde_json::Value> {
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    let answer = send(port, request.as_bytes(), |_| false)?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}
