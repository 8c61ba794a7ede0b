//! `spotter model`: pulls, installs, lists, checks and compares models.

mod add;
mod compare;
mod labels;
mod list;
mod pull;

use crate::{cli::ModelCommand, error::CliError};

pub(crate) fn model(command: ModelCommand) -> Result<(), CliError> {
    match command {
        ModelCommand::Add(options) => add::add(&options),
        ModelCommand::Search(options) => pull::search(&options),
        ModelCommand::Pull(options) => pull::pull(&options),
        ModelCommand::List(paths) => list::list(&paths),
        ModelCommand::Verify(options) => list::verify(&options),
        ModelCommand::Compare(options) => compare::compare(&options),
    }
}
