//! What connections may take.

use std::time::Duration;

/// What connections may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// `MAX_CONNECTIONS`: connections at one time. Default 4096, or fewer where the process may not
    /// open so many files.
    pub most: usize,
    /// `HEADER_TIMEOUT_SECONDS`: from a connection's beginning, or a later request's first byte, to the
    /// end of its header. Default 10.
    pub header_timeout: Duration,
    /// `KEEP_ALIVE_SECONDS`: how long a connection may wait for its next request. Default 75, which is
    /// longer than proxies keep theirs.
    pub keep_alive: Duration,
    /// `ANSWER_TIMEOUT_SECONDS`: how long a client may take to accept what is written to it. Default 60.
    pub answer_timeout: Duration,
    /// `UPLOAD_TIMEOUT_SECONDS`: how long the rest of a request that was answered before it had come is read
    /// and discarded, from the request's header on. Default 60.
    pub body_timeout: Duration,
}
