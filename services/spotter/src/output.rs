//! Writing to standard output and error without falling over when nobody reads it.

pub(crate) mod results;

use std::{
    fmt::Display,
    io::{self, Write},
};

use serde::Serialize;

use crate::error::CliError;

/// One line to standard output: a result.
pub(crate) fn line(text: impl Display) -> Result<(), CliError> {
    writeln!(io::stdout().lock(), "{text}").map_err(CliError::Output)
}

/// One line of JSON to standard output: a result. `what` it is, is said where it cannot be written.
pub(crate) fn json(what: &'static str, value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(|source| CliError::Json { what, source })?;
    line(text)
}

/// One line to standard error: progress, a remark. Lost if nobody listens.
pub(crate) fn remark(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A whole document to standard output.
pub(crate) fn document(text: &str) -> Result<(), CliError> {
    io::stdout().lock().write_all(text.as_bytes()).map_err(CliError::Output)
}
