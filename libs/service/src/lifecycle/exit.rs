//! Exit codes, as `sysexits.h` names them.

use std::process::ExitCode;

/// The command line, a setting or an input file is wrong; trying again will not help.
pub const USAGE: u8 = 64;
/// A server this process needs did not answer; trying again may help.
pub const UNAVAILABLE: u8 = 69;
/// This process found itself broken and stops so that its supervisor starts a fresh one.
pub const SOFTWARE: u8 = 70;

/// An [`ExitCode`] of the given number.
#[must_use]
pub fn code(number: u8) -> ExitCode {
    ExitCode::from(number)
}
