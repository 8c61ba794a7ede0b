//! Why the API could not start or stopped, and its exit code.

use std::io;

use messaging::MessagingError;
use service::{
    lifecycle::exit,
    probes,
    telemetry::{metrics::MetricsError, traces::TracesError},
};

use crate::http::{console::ConsoleError, docs::DocsPageError};

/// Why the API could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// NATS is not available, or rejects the connection or the set-up.
    #[error("{}", explained(.0))]
    Messaging(#[from] MessagingError),
    /// Metrics could not be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Traces cannot be exported.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// The generated OpenAPI document is not JSON.
    #[error("the OpenAPI document cannot be generated: {0}")]
    Document(#[from] serde_json::Error),
    /// A page for browsers could not be built.
    #[error(transparent)]
    Page(#[from] PageError),
    /// `HOST` and `PORT` cannot be listened on.
    #[error("cannot listen on {address}: {source}; set HOST and PORT")]
    Listen {
        /// Host and port.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// `PROBES_ADDRESS` cannot be listened on.
    #[error(transparent)]
    Probes(#[from] probes::ListenError),
    /// The listener failed.
    #[error("the HTTP server failed: {0}")]
    Http(#[from] io::Error),
}

/// A page for browsers could not be built, which would be a fault of this build.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The page of Swagger UI.
    #[error(transparent)]
    Docs(#[from] DocsPageError),
    /// The console.
    #[error(transparent)]
    Console(#[from] ConsoleError),
}

impl ServeError {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            // Another process holds the port and may release it.
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                exit::UNAVAILABLE
            }
            Self::Probes(error) if error.is_in_use() => exit::UNAVAILABLE,
            Self::Traces(_) | Self::Listen { .. } | Self::Probes(_) => exit::USAGE,
            Self::Messaging(error) if error.is_configuration() => exit::USAGE,
            Self::Messaging(_) | Self::Http(_) => exit::UNAVAILABLE,
            Self::Metrics(_) | Self::Document(_) | Self::Page(_) => exit::SOFTWARE,
        }
    }
}

/// The error with the command that helps, which the messaging crate does not know.
fn explained(error: &MessagingError) -> String {
    match error {
        MessagingError::MustBeProvisioned { .. } => {
            format!("{error}: run the set-up first (`spotter-api setup`)")
        }
        _ => error.to_string(),
    }
}
