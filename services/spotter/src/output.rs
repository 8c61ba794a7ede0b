//! Writing to standard output and error without falling over when nobody reads it.

use std::{
    fmt::Display,
    io::{self, Write},
};

use crate::error::CliError;

/// One line to standard output: a result.
pub(crate) fn line(text: impl Display) -> Result<(), CliError> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// One line to standard error: progress, a remark. Lost if nobody listens.
pub(crate) fn remark(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A whole document to standard output.
pub(crate) fn document(text: &str) -> Result<(), CliError> {
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}
