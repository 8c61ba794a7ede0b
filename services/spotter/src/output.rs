//! Printing to standard output and standard error, which may be closed.

pub(crate) mod columns;
pub(crate) mod progress;
pub(crate) mod results;
pub(crate) mod times;

use std::{
    fmt::Display,
    io::{self, Write},
};

use serde::Serialize;

use crate::error::CliError;

/// Prints one line of the result to standard output.
pub(crate) fn line(text: impl Display) -> Result<(), CliError> {
    writeln!(io::stdout().lock(), "{text}").map_err(CliError::Output)
}

/// Prints one line of JSON to standard output. `what` names the value in an error.
pub(crate) fn json(what: &'static str, value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(|source| CliError::Json { what, source })?;
    line(text)
}

/// Prints one line to standard error: progress, or a notice. A failure to write it is ignored.
pub(crate) fn notice(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints a whole document to standard output.
pub(crate) fn document(text: &str) -> Result<(), CliError> {
    io::stdout().lock().write_all(text.as_bytes()).map_err(CliError::Output)
}
