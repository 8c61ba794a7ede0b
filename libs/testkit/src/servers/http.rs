//! An HTTP server whose answers the test makes, byte for byte.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use parking_lot::Mutex;

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Request line and headers.
    pub head: String,
    /// The body, of the length that its header says.
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of a header, whose name is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim())
    }

    fn read(connection: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(connection);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let mut request = Self { head, body: Vec::new() };
        let length = request.header("content-length").and_then(|length| length.parse().ok());
        request.body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut request.body).ok()?;
        Some(request)
    }
}

/// A server on this machine that answers the first request of each connection and closes it. It ends with this value.
pub struct HttpServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
    ended: Arc<AtomicBool>,
}

impl HttpServer {
    /// `answer` makes the bytes of an answer. Where it returns `None`, the connection stays open without one.
    ///
    /// # Panics
    /// If no port is free.
    pub fn start(answer: impl Fn(&HttpRequest) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", answer)
    }

    /// The same at another address.
    ///
    /// # Panics
    /// If it is not free.
    pub fn start_at(
        address: &str,
        answer: impl Fn(&HttpRequest) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (seen, is_over, answer) = (Arc::clone(&requests), Arc::clone(&ended), Arc::new(answer));
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || converse(connection, &seen, &*answer));
            }
        });
        Self { address, requests, ended }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `http://`, address and port.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.requests.lock().clone()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn converse(
    mut connection: TcpStream,
    seen: &Mutex<Vec<HttpRequest>>,
    answer: &dyn Fn(&HttpRequest) -> Option<Vec<u8>>,
) {
    let Some(request) = HttpRequest::read(&connection) else { return };
    let answer = answer(&request);
    seen.lock().push(request);
    if let Some(bytes) = answer {
        let _ = connection.write_all(&bytes);
        let _ = connection.shutdown(Shutdown::Write);
    }
    // Until the client closes it: closing first could reset the connection before the answer is read.
    while connection.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}
}

/// The bytes of an answer with this status, these header lines (each with its end) and this body.
#[must_use]
pub fn http_answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}
