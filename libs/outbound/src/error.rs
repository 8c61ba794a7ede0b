//! Why a URL is not requested, or has no answer. The texts are for the client that named the URL: they tell no address
//! that a name resolved to, and are the same for every address that is refused.

/// Why a URL is not requested, found without I/O.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It cannot be parsed.
    #[error("it is no absolute URL: {0}")]
    Invalid(String),
    /// It has more characters than this.
    #[error("it has more than {0} characters")]
    TooLong(usize),
    /// It has a space, a control character or a backslash in it, which programs read differently.
    #[error("it has a space, a control character or a backslash in it: percent-encode them")]
    Character,
    /// Another scheme than the allowed ones.
    #[error("its scheme must be {allowed}")]
    Scheme {
        /// The allowed ones.
        allowed: &'static str,
    },
    /// A user name or password. It would be sent to whatever the URL leads to.
    #[error("it must not have a user name or password in it")]
    Login,
    /// A port that is not allowed.
    #[error("port {0} is not allowed")]
    Port(u16),
    /// An address in place of a name that is not public.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// The host has no address, or one that is refused. One text for all of it: whether a name exists in a network that
/// the client cannot see, and which address it has there, is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its host has no public address")]
pub struct Refused;

/// Why a request has no answer, or none that is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The URL is not requested.
    #[error(transparent)]
    Url(UrlError),
    /// The server redirects to a URL that is not requested.
    #[error("its server redirects to a URL that is not allowed: {0}")]
    Redirect(UrlError),
    /// The host's addresses.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The server redirects again and again.
    #[error("its server redirects more than {0} times")]
    TooManyRedirects(usize),
    /// The server redirects without saying where to.
    #[error("its server redirects and does not say where to")]
    NoLocation,
    /// No connection, no TLS, or no HTTP.
    #[error("{0}")]
    Unreachable(&'static str),
    /// A limit of time.
    #[error("its server did not answer in time")]
    TimedOut,
    /// Another status than expected.
    #[error("its server answered with status {0}")]
    Status(u16),
    /// The body is compressed, though the request asks for none of it.
    #[error("its server sent a compressed body")]
    Encoded,
    /// Too many requests at once, to this host or in all.
    #[error("too many requests to other servers are in progress")]
    Busy,
}

impl From<UrlError> for RequestError {
    fn from(error: UrlError) -> Self {
        match error {
            UrlError::Refused(refused) => Self::Refused(refused),
            other => Self::Url(other),
        }
    }
}

impl RequestError {
    /// The error for a redirect's target.
    pub(crate) fn of_redirect(error: UrlError) -> Self {
        match error {
            UrlError::Refused(refused) => Self::Refused(refused),
            other => Self::Redirect(other),
        }
    }
}
