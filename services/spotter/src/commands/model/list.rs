//! `spotter model list` and `verify`.

use detector::{ModelBundle, ModelInput};

use crate::{
    cli::ModelVerifyOptions,
    eight_bits::{self, EightBits},
    error::{CliError, explained},
    output,
    paths::PathsOptions,
};

/// Lists the installed models.
pub(super) fn list(paths: &PathsOptions) -> Result<(), CliError> {
    let models_dir = paths.models_dir();
    let models = ModelBundle::list(&models_dir)?;
    if models.is_empty() {
        output::notice(format_args!(
            "no models in {}; install one with `spotter model pull NAME` or `spotter model add FILE.onnx`",
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

/// Checks installed models against their checksums.
pub(super) fn verify(options: &ModelVerifyOptions) -> Result<(), CliError> {
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

/// An installed model in one line.
pub(super) fn summary(bundle: &ModelBundle) -> String {
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
