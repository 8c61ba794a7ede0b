//! Installing a model: what kind of detector a file is, its head cut off where that works, and a
//! trial run of what will be written.

mod class_names;
mod cut;
mod note;
mod reading;
mod recognise;
mod source;
mod trial;

use std::{
    fs,
    path::{Path, PathBuf},
};

use domain::{LabelMap, ModelName, Sha256Digest};

use crate::{
    model::error::ModelError,
    model::{
        bundle::{MANIFEST_FILE, MODEL_FILE, ModelBundle},
        manifest::{Manifest, ModelInput},
    },
    onnx::cut::InputSize,
    onnx_runtime::library::OnnxRuntime,
    postprocess::candidate::Candidate,
    postprocess::heads::HeadKind,
};
use class_names::Names;
pub use note::InstallNote;
use reading::Family;
use source::Source;
use trial::{Recognised, Trial};

/// Whether to cut the head off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadChoice {
    /// Cut it off where the model allows: faster, and free in its input size.
    #[default]
    CutIfPossible,
    /// Keep the graph as it is.
    KeepPlain,
}

/// What to do when a model of the same name is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Refuse with [`ModelError::AlreadyInstalled`].
    #[default]
    Refuse,
    /// Put the new one in its place.
    Replace,
}

/// How to install a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallOptions {
    /// The folder that holds all models, such as `models`. It is made if it is not there.
    pub models_dir: PathBuf,
    /// The name the model is to have.
    pub name: ModelName,
    /// The names of its classes; `None` takes those in the file.
    pub labels: Option<LabelMap>,
    /// The terms of its weights; `None` takes what the file says.
    pub license: Option<String>,
    /// Whether to cut its head off.
    pub head: HeadChoice,
    /// What to do when the name is taken.
    pub existing: Existing,
}

impl InstallOptions {
    /// Labels and licence from the file, the head cut where possible, nothing replaced.
    #[must_use]
    pub fn new(models_dir: &Path, name: ModelName) -> Self {
        Self {
            models_dir: models_dir.to_owned(),
            name,
            labels: None,
            license: None,
            head: HeadChoice::default(),
            existing: Existing::default(),
        }
    }
}

/// A model that has just been installed.
#[derive(Debug)]
pub struct Installed {
    /// The model.
    pub bundle: ModelBundle,
    /// What was found out on the way.
    pub notes: Vec<InstallNote>,
}

/// What is to be written, once it has been seen to run.
struct Prepared {
    bytes: Vec<u8>,
    head: HeadKind,
    strides: Vec<u32>,
    classes: usize,
    input: ModelInput,
}

impl ModelBundle {
    /// Installs the ONNX file `source` as a model.
    ///
    /// The file's kind is told from its inputs, outputs and metadata. What is written has been run:
    /// a cut model gives what the whole one gives. The folder appears complete or not at all.
    ///
    /// # Errors
    /// [`ModelError`] when the file is no detector that is understood, when its labels are missing
    /// or too few, or when the folder cannot be written. Nothing is left behind then.
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
        let facts = recognise::recognise(source, &read.model)?;
        let names = Names::of(&read.model, options.labels.as_ref());
        if let [only] = &facts.readings[..] {
            // What is wrong with the names is told before anything is run.
            names.labels(source, only.classes, &mut Vec::new())?;
        }
        let Source { mut model, mut bytes, sha256: source_sha256 } = read;
        if facts.has_other_outputs {
            model = model.with_first_output();
            bytes = model.to_bytes();
        }
        let (own_license, producer) =
            (model.metadata("license").map(str::to_owned), model.producer());
        let trial = Trial { path: source, runtime, model, bytes };
        let prepared = Preparation { trial, head: options.head, notes: &mut notes }
            .prepare(&facts, names.count())?;
        let labels = names.labels(source, prepared.classes, &mut notes)?;
        let license = options.license.clone().or(own_license);
        if license.is_none() {
            notes.push(InstallNote::LicenseUnknown);
        }
        let manifest = Manifest {
            name: options.name.clone(),
            head: prepared.head,
            strides: prepared.strides,
            license: license.unwrap_or_else(|| "unknown".to_owned()),
            producer: producer.unwrap_or_else(|| "unknown".to_owned()),
            sha256: Sha256Digest::of(&prepared.bytes),
            source_sha256,
            labels,
            input: prepared.input,
        };
        write(&dir, options, &manifest, &prepared.bytes)?;
        Ok(Installed { bundle: Self::load(&dir)?, notes })
    }
}

/// Decides what to write, and runs it.
struct Preparation<'a, 'n> {
    trial: Trial<'a>,
    head: HeadChoice,
    notes: &'n mut Vec<InstallNote>,
}

impl Preparation<'_, '_> {
    /// What to write of the model, whose classes have `labels` names if any.
    fn prepare(
        mut self,
        facts: &recognise::Facts,
        labels: Option<usize>,
    ) -> Result<Prepared, ModelError> {
        let (recognised, boxes) = self.trial.run_whole(facts, labels)?;
        let is_batch_free = match facts.batch {
            Some(batch) => self.free_batch(&recognised, batch, &boxes),
            None => true,
        };
        if recognised.reading.family == Family::Yolov8
            && self.head == HeadChoice::CutIfPossible
            && is_batch_free
        {
            match self.trial.cut(&recognised, &boxes) {
                Ok(cut) => return Ok(self.cut(&recognised, cut)),
                Err(reason) => self.notes.push(InstallNote::HeadKept(reason)),
            }
        }
        self.plain(recognised)
    }

    /// Lets the model take any number of pictures, if it can.
    fn free_batch(&mut self, recognised: &Recognised, batch: u64, boxes: &[Candidate]) -> bool {
        match self.trial.with_free_batch(recognised, batch, boxes) {
            Ok(freed) => {
                self.trial = freed;
                self.notes.push(InstallNote::BatchFreed(batch));
                true
            }
            Err(error) => {
                let detail = error.to_string();
                self.notes.push(InstallNote::BatchKept { batch, detail });
                false
            }
        }
    }

    fn cut(self, recognised: &Recognised, cut: cut::Cut) -> Prepared {
        self.notes.push(InstallNote::HeadCut {
            score_difference: cut.difference.score,
            box_difference: cut.difference.side,
        });
        if let Some(detail) = cut.why_fixed {
            self.notes.push(InstallNote::SizeFixed { detail });
        }
        Prepared {
            bytes: cut.bytes,
            head: HeadKind::Yolov8Cut,
            input: model_input(recognised, cut.size),
            strides: cut.strides,
            classes: recognised.reading.classes,
        }
    }

    /// The model with the head that it has.
    fn plain(self, recognised: Recognised) -> Result<Prepared, ModelError> {
        let head = recognised.plain_head();
        let (width, height) = recognised.size;
        let mut size = InputSize::Fixed { height, width };
        // YOLOX's own preparation of a picture knows one size.
        if recognised.is_size_free && recognised.reading.family == Family::Yolov8 {
            match self.trial.why_not_at_other_sizes(&head)? {
                Some(detail) => self.notes.push(InstallNote::SizeFixed { detail }),
                None => size = InputSize::Free,
            }
        }
        Ok(Prepared {
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
        InputSize::Free => ModelInput::Dynamic {
            long_side: width.max(height),
            multiple_of: recognised.largest_stride(),
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
    // Beside its final place, because a folder can only be moved within a file system.
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
        // It goes away with the staging folder.
        fs::rename(dir, staging.path().join("old")).map_err(failed(dir))?;
    }
    fs::rename(&new, dir).map_err(failed(dir))
}
