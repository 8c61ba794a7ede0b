//! `spotter model compare`: what two models find in the same pictures, and how long they take.

mod pictures;
mod stored;
mod summary;
mod tables;

use self::summary::{Summary, Version};
use crate::{
    cli::ModelCompareOptions,
    error::CliError,
    output::{self, results::Format},
};

pub(super) fn compare(options: &ModelCompareOptions) -> Result<(), CliError> {
    if options.a == options.b {
        return Err(CliError::Usage(format!(
            "{} is compared with itself: name two models",
            options.a
        )));
    }
    if options.pictures.is_empty() { compare_stored(options) } else { compare_pictures(options) }
}

/// Prints what workers have compared.
fn compare_stored(options: &ModelCompareOptions) -> Result<(), CliError> {
    let ModelCompareOptions { a, b, settings, .. } = options;
    let given = settings.given();
    if !given.is_empty() {
        return Err(CliError::Usage(format!(
            "{} without pictures: workers have made the stored comparisons with each task's own settings. Name pictures \
             or folders to run both models with others",
            given.join(", ")
        )));
    }
    let stored = stored::read(options)?;
    let Some([version_a, version_b]) = stored.versions else {
        return Err(CliError::Unavailable(format!(
            "no job of {a} was compared with {b} in the last seven days: is a worker with SHADOW_MODEL={b} running that \
             serves {b}, and one with the same setting that serves {a}? `spotter model compare {a} {b} FOLDER` compares \
             them on pictures of yours"
        )));
    };
    if stored.of_other_versions > 0 {
        output::notice(format_args!(
            "{} comparisons of other versions of these models are left out",
            stored.of_other_versions
        ));
    }
    print(options, &Summary::of(version_a, version_b, &stored.compared))
}

/// Runs both models on the pictures. Those that cannot be run are reported, and the others are compared.
fn compare_pictures(options: &ModelCompareOptions) -> Result<(), CliError> {
    let run = pictures::run(options)?;
    let [version_a, version_b] = run.versions;
    if !run.compared.is_empty() {
        print(options, &Summary::of(version_a, version_b, &run.compared))?;
    }
    match run.failed {
        0 => Ok(()),
        failed => Err(CliError::Pictures { failed, all: failed + run.compared.len() }),
    }
}

fn print(options: &ModelCompareOptions, summary: &Summary) -> Result<(), CliError> {
    match Format::new(options.json) {
        Format::Json => output::json("a comparison", summary),
        Format::Table => tables::print(summary),
    }
}
