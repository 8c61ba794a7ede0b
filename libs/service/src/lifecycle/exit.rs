//! Exit codes, as `sysexits.h` names them.

use std::process::ExitCode;

/// The command line, a setting or an input file is wrong; a retry does not help.
pub const USAGE: u8 = 64;
/// A server that this process needs did not answer; a retry may help.
pub const UNAVAILABLE: u8 = 69;
/// The process is broken and exits so that its supervisor restarts it.
pub const SOFTWARE: u8 = 70;
/// Ctrl-C has ended a command before it was done, as shells report it: 128 and the number of the signal.
pub const INTERRUPTED: u8 = 130;

/// An [`ExitCode`] of the given number.
#[must_use]
pub fn code(number: u8) -> ExitCode {
    ExitCode::from(number)
}
