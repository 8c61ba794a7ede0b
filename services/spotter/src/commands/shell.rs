//! `spotter completions` and `spotter man`: what a shell and `man` know of the command.

use std::fs;

use clap::CommandFactory;

use crate::{
    cli::{Cli, CompletionsOptions, ManOptions},
    error::CliError,
    output,
};

/// Prints the script that completes the command line in a shell.
pub(crate) fn completions(options: &CompletionsOptions) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "spotter", &mut script);
    output::document(&String::from_utf8_lossy(&script))
}

/// Writes a page for each command, such as `spotter-submit.1`.
pub(crate) fn man(options: &ManOptions) -> Result<(), CliError> {
    let folder = &options.folder;
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder))
        .map_err(|source| CliError::Write { path: folder.clone(), source })
}
