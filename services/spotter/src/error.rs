//! Why a command fails, and with which exit code.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use detector::{ModelError, OnnxRuntimeError};
use domain::{KeyId, TaskId};
use messaging::{DeadLetterId, MessagingError};
use service::{config::ConfigError, lifecycle::exit};
use worker::hints;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{}", hints::onnx_runtime(.0))]
    Runtime(#[from] OnnxRuntimeError),
    #[error("{}", explained(.0))]
    Model(#[from] ModelError),
    #[error("{0}")]
    Serve(#[from] api::ServeError),
    #[error("{0}")]
    Worker(#[from] worker::WorkerError),
    #[error("{0}")]
    Notifier(#[from] notifier::NotifierError),
    #[error("{0}")]
    Queue(#[from] MessagingError),
    #[error("{failed} of {all} dead letters failed")]
    DeadLetters { failed: usize, all: usize },
    #[error("no webhook of task {0} was given up in the last seven days")]
    NoWebhook(TaskId),
    #[error("there is no API key {0}; `spotter key list` shows all")]
    NoKey(KeyId),
    #[error("the picture of dead letter {0} is gone")]
    PictureGone(DeadLetterId),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    BatchNotReceived(String),
    #[error("{0}")]
    Interrupted(String),
    #[error("{failed} of {all} pictures failed")]
    Pictures { failed: usize, all: usize },
    #[error("{failed} of {all} tasks were not cancelled")]
    NotCancelled { failed: usize, all: usize },
    #[error("{0} of the models cannot be used")]
    Models(usize),
    #[error("{path} cannot be written: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{what} cannot be written as JSON: {source}")]
    Json { what: &'static str, source: serde_json::Error },
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Why a model cannot be installed or used, and what to do about it.
pub(crate) fn explained(error: &ModelError) -> String {
    match error {
        ModelError::LabelsNeeded { .. } => {
            format!("{error}; give their names with `--labels FILE`, one name per line")
        }
        ModelError::LabelCount { .. } => format!(
            "{error}; give as many names as there are classes with `--labels FILE`, one name per line"
        ),
        _ => hints::model(error),
    }
}

impl CliError {
    pub(crate) fn usage_code() -> ExitCode {
        exit::code(exit::USAGE)
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            // The reader of a pipe has closed it, as `head` does.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Config(_) | Self::Runtime(_) | Self::Model(_) | Self::Usage(_) => {
                Self::usage_code()
            }
            Self::Queue(error) if error.is_configuration() => Self::usage_code(),
            Self::Worker(error) => exit::code(error.exit_code()),
            Self::Notifier(error) => exit::code(error.exit_code()),
            Self::Serve(error) => exit::code(error.exit_code()),
            Self::Queue(_) | Self::Unavailable(_) => exit::code(exit::UNAVAILABLE),
            Self::Interrupted(_) => exit::code(exit::INTERRUPTED),
            Self::Pictures { .. }
            | Self::NotCancelled { .. }
            | Self::BatchNotReceived(_)
            | Self::DeadLetters { .. }
            | Self::PictureGone(_)
            | Self::NoWebhook(_)
            | Self::NoKey(_)
            | Self::Models(_)
            | Self::Write { .. }
            | Self::Json { .. }
            | Self::Output(_)
            | Self::Io(_) => ExitCode::FAILURE,
        }
    }

    pub(crate) fn print(&self) {
        if self.exit_code() != ExitCode::SUCCESS {
            let _ = writeln!(io::stderr(), "spotter: {self}");
        }
    }
}
