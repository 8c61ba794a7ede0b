//! Limits on connections.

use std::time::Duration;

/// Limits on connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// `MAX_CONNECTIONS`: maximum number of open connections. Default 4096, or fewer if the process may not
    /// open so many files.
    pub most: usize,
    /// `HEADER_TIMEOUT_SECONDS`: from the start of a connection, or the first byte of a later request, to the
    /// end of its header. Default 10.
    pub header_timeout: Duration,
    /// `KEEP_ALIVE_SECONDS`: how long an idle connection stays open. Default 75, longer than the idle timeout
    /// of common proxies.
    pub keep_alive: Duration,
    /// `ANSWER_TIMEOUT_SECONDS`: how long a client may take to read a response. Default 60.
    pub answer_timeout: Duration,
    /// `UPLOAD_TIMEOUT_SECONDS`: how long the unread body of a request that is already answered is read and
    /// discarded, from the request's header on. Default 60.
    pub body_timeout: Duration,
}
