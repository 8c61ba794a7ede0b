//! `spotter model`: installs, lists and checks models.

use std::path::Path;

use detector::{
    ModelBundle, ModelInput,
    model::install::{Existing, HeadChoice, InstallNote, InstallOptions},
};
use domain::{LabelMap, ModelName};
use service::files::read_text;

use crate::{
    cli::{ModelAddOptions, ModelCommand, ModelVerifyOptions},
    eight_bits::{self, EightBits},
    error::{CliError, explained},
    output,
    paths::PathsOptions,
};

pub(crate) fn model(command: ModelCommand) -> Result<(), CliError> {
    match command {
        ModelCommand::Add(options) => add(&options),
        ModelCommand::List(paths) => list(&paths),
        ModelCommand::Verify(options) => verify(&options),
    }
}

fn add(options: &ModelAddOptions) -> Result<(), CliError> {
    let name = match &options.name {
        Some(name) => name.clone(),
        None => name_from(&options.file)?,
    };
    let install = InstallOptions {
        labels: options.labels.as_deref().map(read_labels).transpose()?,
        license: options.license.clone(),
        head: if options.keep_plain { HeadChoice::KeepPlain } else { HeadChoice::CutIfPossible },
        resampling: options.resampling,
        existing: if options.replace { Existing::Replace } else { Existing::Refuse },
        ..InstallOptions::new(&options.paths.models_dir(), name)
    };
    let installed = ModelBundle::install(&options.file, &install, &options.paths.runtime()?)?;
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

fn read_labels(path: &Path) -> Result<LabelMap, CliError> {
    let text = read_text(path)
        .map_err(|error| CliError::Usage(format!("{} cannot be read: {error}", path.display())))?;
    let labels = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(LabelMap::new(labels.map(str::to_owned).collect()))
}

fn list(paths: &PathsOptions) -> Result<(), CliError> {
    let models_dir = paths.models_dir();
    let models = ModelBundle::list(&models_dir)?;
    if models.is_empty() {
        output::notice(format_args!(
            "no models in {}; install one with `spotter model add FILE.onnx`",
            models_dir.display()
        ));
    }
    let mut broken = 0;
    for model in models {
        match model.bundle {
            Ok(bundle) => output::line(summary(&bundle))?,
            Err(error) => {
                broken += 1;
                output::notice(format_args!("{}: {}", model.dir.display(), explained(&error)));
            }
        }
    }
    if let Some(hint) = eight_bits::hint(&models_dir, EightBits::on_this_cpu()) {
        output::notice(hint);
    }
    if broken == 0 { Ok(()) } else { Err(CliError::Models(broken)) }
}

fn verify(options: &ModelVerifyOptions) -> Result<(), CliError> {
    let models_dir = options.paths.models_dir();
    let bundles: Vec<_> = if options.names.is_empty() {
        ModelBundle::list(&models_dir)?.into_iter().map(|model| (model.dir, model.bundle)).collect()
    } else {
        let dirs = options.names.iter().map(|name| models_dir.join(name.as_str()));
        dirs.map(|dir| (dir.clone(), ModelBundle::load(&dir))).collect()
    };
    let mut broken = 0;
    for (dir, bundle) in bundles {
        match bundle.and_then(|bundle| bundle.verify().map(|()| bundle)) {
            Ok(bundle) => output::line(format_args!("{}: as installed", bundle.name()))?,
            Err(error) => {
                broken += 1;
                output::notice(format_args!("{}: {}", dir.display(), explained(&error)));
            }
        }
    }
    if broken == 0 { Ok(()) } else { Err(CliError::Models(broken)) }
}

fn summary(bundle: &ModelBundle) -> String {
    let manifest = bundle.manifest();
    let input = match manifest.input {
        ModelInput::Dynamic { long_side, .. } => format!("up to {long_side} px"),
        ModelInput::Fixed { width, height } => format!("{width}×{height} px"),
    };
    format!(
        "{}  {}  {} classes  {input}  {}  weights: {}",
        manifest.name,
        manifest.head.name(),
        bundle.labels().len(),
        manifest.preprocessing(),
        manifest.license
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_names_are_read_as_any_editor_saves_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff}person\r\n\r\n bicycle \r\n").unwrap();
        let expected = LabelMap::new(vec!["person".to_owned(), "bicycle".to_owned()]);
        assert_eq!(read_labels(file.path()).unwrap(), expected);
        std::fs::write(file.path(), b"\xff\xfep\0").unwrap();
        let error = read_labels(file.path()).unwrap_err().to_string();
        assert!(error.contains("UTF-16"), "{error}");
    }
}
