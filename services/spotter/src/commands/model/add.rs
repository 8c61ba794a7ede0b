//! `spotter model add`: installs an ONNX file.

use std::path::Path;

use detector::{
    ModelBundle,
    model::install::{Existing, HeadChoice, InstallNote, InstallOptions},
};
use domain::ModelName;

use super::{labels::read_labels, list::summary};
use crate::{
    cli::{ModelAddOptions, ModelInstallOptions},
    error::CliError,
    output,
    paths::PathsOptions,
};

pub(super) fn add(options: &ModelAddOptions) -> Result<(), CliError> {
    let name = match &options.name {
        Some(name) => name.clone(),
        None => name_from(&options.file)?,
    };
    let install = install_options(name, None, &options.install)?;
    install_file(&options.file, &install, &options.install.paths)
}

/// How to install a model. `licence` is that of its weights where no option names one.
pub(super) fn install_options(
    name: ModelName,
    licence: Option<&str>,
    options: &ModelInstallOptions,
) -> Result<InstallOptions, CliError> {
    Ok(InstallOptions {
        labels: options.labels.as_deref().map(read_labels).transpose()?,
        license: options.license.clone().or_else(|| licence.map(str::to_owned)),
        head: if options.keep_plain { HeadChoice::KeepPlain } else { HeadChoice::CutIfPossible },
        resampling: options.resampling,
        existing: if options.replace { Existing::Replace } else { Existing::Refuse },
        ..InstallOptions::new(&options.paths.models_dir(), name)
    })
}

/// Installs a file, and prints what is to be said about it.
pub(super) fn install_file(
    file: &Path,
    options: &InstallOptions,
    paths: &PathsOptions,
) -> Result<(), CliError> {
    let installed = ModelBundle::install(file, options, &paths.runtime()?)?;
    for note in &installed.notes {
        output::notice(format_args!("  {note}{}", hint(note)));
    }
    output::line(format_args!("installed {}", summary(&installed.bundle)))
}

/// What can be done about a note.
fn hint(note: &InstallNote) -> &'static str {
    match note {
        InstallNote::LabelsAssumed => ": give others with --labels",
        _ => "",
    }
}

fn name_from(file: &Path) -> Result<ModelName, CliError> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    stem.parse().map_err(|error| CliError::Usage(format!("{error}; choose one with --name")))
}
