//! Installing a model: the kind of detector is recognised, its head is cut off where possible, and the
//! result is run before it is written.

mod class_names;
mod cut;
mod note;
mod recognise;
mod source;
mod trial;

use std::{
    fs,
    path::{Path, PathBuf},
};

use domain::{LabelMap, ModelName, Sha256Digest};

use crate::{
    families::{HeadKind, Sizes},
    model::error::ModelError,
    model::{
        bundle::{MANIFEST_FILE, MODEL_FILE, ModelBundle},
        manifest::{Manifest, ModelInput},
    },
    onnx::cut::InputSize,
    onnx_runtime::library::OnnxRuntime,
    postprocess::candidate::Candidate,
    preprocess::letterbox::{Preprocessing, Resampling},
};
use class_names::Names;
pub use note::InstallNote;
use source::Source;
use trial::{Recognised, Trial};

/// Whether to cut the head off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadChoice {
    /// Cut it off where possible: the model is faster, and takes any input size.
    #[default]
    CutIfPossible,
    /// Keep the graph as it is.
    KeepPlain,
}

/// What to do when a model of the same name exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Refuse with [`ModelError::AlreadyInstalled`].
    #[default]
    Refuse,
    /// Replace that model once the new one is complete.
    Replace,
}

/// How to install a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallOptions {
    /// The folder of all models, such as `models`. It is created if missing.
    pub models_dir: PathBuf,
    /// The name of the installed model.
    pub name: ModelName,
    /// The names of its classes; `None` for those in the file.
    pub labels: Option<LabelMap>,
    /// The licence of its weights; `None` for that in the file.
    pub license: Option<String>,
    /// Whether to cut its head off.
    pub head: HeadChoice,
    /// What to do when the name is taken.
    pub existing: Existing,
    /// How pictures are scaled; `None` for what the reference implementation of its family does.
    pub resampling: Option<Resampling>,
}

impl InstallOptions {
    /// Labels and licence from the file, the head cut off where possible, no model replaced.
    #[must_use]
    pub fn new(models_dir: &Path, name: ModelName) -> Self {
        Self {
            models_dir: models_dir.to_owned(),
            name,
            labels: None,
            license: None,
            head: HeadChoice::default(),
            existing: Existing::default(),
            resampling: None,
        }
    }
}

/// A model that has just been installed.
#[derive(Debug)]
pub struct Installed {
    /// The installed model, read back from its folder.
    pub bundle: ModelBundle,
    /// Reports for the user.
    pub notes: Vec<InstallNote>,
}

/// A model that has been run, ready to be written.
struct Converted {
    bytes: Vec<u8>,
    head: HeadKind,
    strides: Vec<u32>,
    classes: usize,
    input: ModelInput,
}

impl ModelBundle {
    /// Installs the ONNX file `source` as a model.
    ///
    /// The kind of detector is recognised by inputs, outputs, metadata and a run. The installed model has
    /// been run: a cut model gives the boxes of the whole one. The folder is created atomically.
    ///
    /// # Errors
    /// [`ModelError`] when the file is not a supported detector, when its labels are missing or too few,
    /// or when the folder cannot be written. No files are left behind then.
    pub fn install(
        source: &Path,
        options: &InstallOptions,
        runtime: &OnnxRuntime,
    ) -> Result<Installed, ModelError> {
        let dir = options.models_dir.join(options.name.as_str());
        if options.existing == Existing::Refuse && dir.exists() {
            return Err(ModelError::AlreadyInstalled { dir });
        }
        let mut notes = Vec::new();
        let read = Source::read(source, &mut notes)?;
        let names = Names::of(&read.model, options.labels.as_ref());
        let facts = recognise::recognise(source, &read.model, names.count())?;
        if let [only] = &facts.readings[..] {
            // Errors in the names are reported before the model is run.
            names.labels(source, only.levels.classes, &mut Vec::new())?;
        }
        if facts.ends.masks.is_some() {
            notes.push(InstallNote::MasksLeftOut);
        }
        let Source { mut model, mut bytes, sha256: source_sha256 } = read;
        if let Some(changed) = facts.with_ends(&model) {
            model = changed;
            bytes = model.to_bytes();
        }
        let (own_license, producer) =
            (model.metadata("license").map(str::to_owned), model.producer());
        let trial = Trial { path: source, runtime, model, bytes };
        let converted = Conversion { trial, head: options.head, notes: &mut notes }
            .convert(&facts, names.count())?;
        let labels = names.labels(source, converted.classes, &mut notes)?;
        let license = options.license.clone().or(own_license);
        if license.is_none() {
            notes.push(InstallNote::LicenseUnknown);
        }
        let preprocessing = converted.head.preprocessing();
        let manifest = Manifest {
            name: options.name.clone(),
            head: converted.head,
            strides: converted.strides,
            license: license.unwrap_or_else(|| "unknown".to_owned()),
            producer: producer.unwrap_or_else(|| "unknown".to_owned()),
            sha256: Sha256Digest::of(&converted.bytes),
            source_sha256,
            labels,
            input: converted.input,
            preprocessing: Some(Preprocessing {
                resampling: options.resampling.unwrap_or(preprocessing.resampling),
                ..preprocessing
            }),
        };
        write(&dir, options, &manifest, &converted.bytes)?;
        Ok(Installed { bundle: Self::load(&dir)?, notes })
    }
}

/// Decides which model to write, and runs it.
struct Conversion<'a, 'n> {
    trial: Trial<'a>,
    head: HeadChoice,
    notes: &'n mut Vec<InstallNote>,
}

impl Conversion<'_, '_> {
    /// The model to write; `labels` is the number of class names, where known.
    fn convert(
        mut self,
        facts: &recognise::Facts,
        labels: Option<usize>,
    ) -> Result<Converted, ModelError> {
        let (recognised, boxes) = self.trial.run_whole(facts, labels)?;
        let is_batch_dynamic = match facts.batch {
            Some(batch) => self.make_batch_dynamic(&recognised, batch, &boxes),
            None => true,
        };
        if recognised.reading.kind == HeadKind::YOLOV8
            && self.head == HeadChoice::CutIfPossible
            && is_batch_dynamic
        {
            match self.trial.cut(&recognised, &boxes) {
                Ok(cut) => return Ok(self.cut(&recognised, cut)),
                Err(reason) => self.notes.push(InstallNote::HeadKept(reason)),
            }
        }
        self.plain(recognised)
    }

    /// Makes the batch dynamic, where possible.
    fn make_batch_dynamic(
        &mut self,
        recognised: &Recognised,
        batch: u64,
        boxes: &[Candidate],
    ) -> bool {
        match self.trial.with_dynamic_batch(recognised, batch, boxes) {
            Ok(changed) => {
                self.trial = changed;
                self.notes.push(InstallNote::BatchMadeDynamic(batch));
                true
            }
            Err(error) => {
                let detail = error.to_string();
                self.notes.push(InstallNote::BatchKept { batch, detail });
                false
            }
        }
    }

    fn cut(self, recognised: &Recognised, cut: cut::Cut) -> Converted {
        self.notes.push(InstallNote::HeadCut {
            score_difference: cut.difference.score,
            box_difference: cut.difference.side,
        });
        if let Some(detail) = cut.why_fixed {
            self.notes.push(InstallNote::SizeFixed { detail });
        }
        Converted {
            bytes: cut.bytes,
            head: HeadKind::YOLOV8_CUT,
            input: model_input(recognised, cut.size),
            strides: cut.strides,
            classes: recognised.reading.levels.classes,
        }
    }

    /// The model with its plain head.
    fn plain(self, recognised: Recognised) -> Result<Converted, ModelError> {
        let head = recognised.reading.head();
        let (width, height) = recognised.size;
        let mut size = InputSize::Fixed { height, width };
        if recognised.is_size_dynamic && head.kind.sizes() == Sizes::Any {
            match self.trial.why_not_at_other_sizes(&head, recognised.multiple_of)? {
                Some(detail) => self.notes.push(InstallNote::SizeFixed { detail }),
                None => size = InputSize::Dynamic,
            }
        }
        Ok(Converted {
            input: model_input(&recognised, size),
            bytes: self.trial.bytes,
            head: head.kind,
            strides: head.strides,
            classes: head.classes,
        })
    }
}

fn model_input(recognised: &Recognised, size: InputSize) -> ModelInput {
    let (width, height) = recognised.size;
    match size {
        InputSize::Dynamic => ModelInput::Dynamic {
            long_side: width.max(height),
            multiple_of: recognised.multiple_of,
        },
        InputSize::Fixed { height, width } => ModelInput::Fixed { width, height },
    }
}

/// Writes both files into a folder of their own and moves it into place in one step.
fn write(
    dir: &Path,
    options: &InstallOptions,
    manifest: &Manifest,
    model: &[u8],
) -> Result<(), ModelError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ModelError::Write { path, source }
    };
    let text = manifest
        .to_text()
        .map_err(|source| ModelError::Manifest { path: dir.join(MANIFEST_FILE), source })?;
    let models_dir = &options.models_dir;
    fs::create_dir_all(models_dir).map_err(failed(models_dir))?;
    // In the same folder, because a rename works only within a file system.
    let staging = tempfile::Builder::new()
        .prefix(".installing.")
        .tempdir_in(models_dir)
        .map_err(failed(models_dir))?;
    let new = staging.path().join("new");
    fs::create_dir(&new).map_err(failed(&new))?;
    for (name, bytes) in [(MODEL_FILE, model), (MANIFEST_FILE, text.as_bytes())] {
        fs::write(new.join(name), bytes).map_err(failed(&new))?;
    }
    if options.existing == Existing::Replace && dir.exists() {
        // It is deleted with the staging folder.
        fs::rename(dir, staging.path().join("old")).map_err(failed(dir))?;
    }
    fs::rename(&new, dir).map_err(failed(dir))
}
