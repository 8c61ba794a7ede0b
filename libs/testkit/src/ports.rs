//! Free TCP ports, and plain questions over TCP.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

/// A port of 127.0.0.1 that was free a moment ago. Somebody else may take it: be ready to try again.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be bound");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// Sends `question` and reads until `enough` says so, the peer closes, or a second of silence.
pub(crate) fn ask(port: u16, question: &[u8], enough: fn(&str) -> bool) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let patience = Duration::from_secs(1);
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
