//! Exit codes, as `sysexits.h` names them.

use std::process::ExitCode;

/// The command line, a setting or an input file is wrong; a retry does not help.
pub const USAGE: u8 = 64;
/// A server that this process needs did not answer; a retry may help.
pub const UNAVAILABLE: u8 = 69;
/// The process is broken and exits so that its supervisor restarts it.
pub const SOFTWARE: u8 = 70;

/// An [`ExitCode`] of the given number.
#[must_use]
pub fn code(number: u8) -> ExitCode {
    ExitCode::from(number)
}
