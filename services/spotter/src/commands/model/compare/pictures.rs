//! Running two installed models on pictures, without any server.

use std::path::Path;

use detector::Detections;
use domain::{Comparison, DetectionSettings, picture::PictureLimits};

use super::{Version, summary::Compared};
use crate::{
    cli::ModelCompareOptions,
    error::CliError,
    loaded_model::LoadedModel,
    output::{
        progress::progress_bar,
        results::{Format, print_failure},
    },
    pictures::{read_picture, with_those_in_folders},
};

/// What both models have found.
pub(super) struct Run {
    pub(super) versions: [Version; 2],
    pub(super) compared: Vec<Compared>,
    /// The pictures that one of them could not be run on.
    pub(super) failed: usize,
}

pub(super) fn run(options: &ModelCompareOptions) -> Result<Run, CliError> {
    let files = with_those_in_folders(&options.pictures).map_err(CliError::Usage)?;
    if files.is_empty() {
        return Err(CliError::Usage("there are no pictures in these folders".to_owned()));
    }
    let mut models = Models {
        a: LoadedModel::load(&options.paths, &options.a)?,
        b: LoadedModel::load(&options.paths, &options.b)?,
        settings: options.settings.into(),
    };
    // The first run of a session takes longer.
    let _ = files.first().map(|file| models.compare(file));
    let bar = progress_bar(files.len(), "pictures, {eta} left");
    let mut run = Run { versions: models.versions(), compared: Vec::new(), failed: 0 };
    for file in bar.wrap_iter(files.iter()) {
        match models.compare(file) {
            Ok(compared) => run.compared.push(compared),
            Err(error) => {
                run.failed += 1;
                bar.suspend(|| print_failure(file, &error, Format::Table))?;
            }
        }
    }
    bar.finish_and_clear();
    Ok(run)
}

/// Both models, loaded.
struct Models {
    a: LoadedModel,
    b: LoadedModel,
    settings: DetectionSettings,
}

impl Models {
    fn versions(&self) -> [Version; 2] {
        [&self.a, &self.b].map(|model| Version {
            model: model.bundle().name().clone(),
            digest: model.bundle().digest(),
        })
    }

    fn compare(&mut self, file: &Path) -> Result<Compared, String> {
        let bytes = read_picture(file, &PictureLimits::default())?;
        let a = self.a.detect(&bytes, &self.settings)?;
        let b = self.b.detect(&bytes, &self.settings)?;
        Ok(Compared {
            picture: file.to_string_lossy().into_owned(),
            a_ms: infer_ms(&a),
            b_ms: infer_ms(&b),
            comparison: Comparison::of(&a.objects, &b.objects),
        })
    }
}

fn infer_ms(found: &Detections) -> f32 {
    found.timings.infer.as_secs_f32() * 1000.0
}
