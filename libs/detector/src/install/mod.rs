//! Installing a model: what kind of detector a file is, its head cut off where that works, and a
//! trial run of what will be written.

mod recognise;
mod trial;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use domain::{LabelMap, ModelName};

use crate::{
    bundle::{MANIFEST_FILE, MODEL_FILE, Manifest, ModelBundle, ModelInput, sha256_hex},
    error::ModelError,
    head::HeadKind,
    onnx::{
        OnnxModel,
        cut::{CannotCut, InputSize},
    },
    session::Runtime,
};
use recognise::{Family, Recognised, STRIDES};

/// A protobuf message, and so an ONNX file, cannot be larger.
const MOST_BYTES: u64 = 2 * 1024 * 1024 * 1024 - 1;

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

/// Something to tell whoever installs a model.
#[derive(Debug, Clone, PartialEq)]
pub enum InstallNote {
    /// The head was cut off.
    HeadCut {
        /// The largest difference in a score, from 0 to 1, between the whole model and the cut one.
        score_difference: f32,
        /// The largest difference in a box's side, in pixels.
        box_difference: f32,
    },
    /// The head stays as it is.
    HeadKept(CannotCut),
    /// Other input sizes do not work, so every picture is padded to one size.
    SizeFixed {
        /// What went wrong at another size.
        detail: String,
    },
    /// The file does not say under which terms its weights are.
    LicenseUnknown,
}

impl fmt::Display for InstallNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeadCut { score_difference, box_difference } => write!(
                f,
                "head cut off; scores differ from the whole model's by at most \
                 {score_difference:.6}, boxes by {box_difference:.5} px"
            ),
            Self::HeadKept(reason) => write!(f, "plain head kept: {reason}"),
            Self::SizeFixed { detail } => {
                write!(f, "input size fixed, other sizes do not run: {detail}")
            }
            Self::LicenseUnknown => {
                f.write_str("the file does not say under which licence its weights are")
            }
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
        runtime: &Runtime,
    ) -> Result<Installed, ModelError> {
        let dir = options.models_dir.join(options.name.as_str());
        if options.existing == Existing::Refuse && dir.exists() {
            return Err(ModelError::AlreadyInstalled { dir });
        }
        let bytes = read_source(source)?;
        let source_sha256 = sha256_hex(&bytes);
        let model = OnnxModel::parse(bytes.clone())
            .map_err(|error| ModelError::NotOnnx { path: source.to_owned(), source: error })?;
        let recognised = recognise::recognise(source, &model)?;
        let labels =
            recognise::labels_of(source, &model, recognised.classes, options.labels.as_ref())?;

        let mut notes = Vec::new();
        let trial = trial::Trial { path: source, model: &model, bytes: &bytes, runtime };
        let prepared = prepare(&trial, &recognised, options.head, &mut notes)?;
        let license = options.license.clone().or(model.metadata("license").map(str::to_owned));
        if license.is_none() {
            notes.push(InstallNote::LicenseUnknown);
        }
        let manifest = Manifest {
            name: options.name.clone(),
            head: prepared.head,
            strides: prepared.strides,
            license: license.unwrap_or_else(|| "unknown".to_owned()),
            producer: model.producer().unwrap_or_else(|| "unknown".to_owned()),
            sha256: sha256_hex(&prepared.bytes),
            source_sha256,
            labels,
            input: prepared.input,
        };
        write(&dir, options, &manifest, &prepared.bytes)?;
        Ok(Installed { bundle: Self::load(&dir)?, notes })
    }
}

fn read_source(path: &Path) -> Result<Vec<u8>, ModelError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ModelError::NoSuchFile { path: path.to_owned() },
        _ => ModelError::Read { path: path.to_owned(), source },
    };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > MOST_BYTES {
        return Err(ModelError::TooLarge { path: path.to_owned(), bytes });
    }
    fs::read(path).map_err(unreadable)
}

/// Decides what to write, and runs it.
fn prepare(
    trial: &trial::Trial<'_>,
    recognised: &Recognised,
    choice: HeadChoice,
    notes: &mut Vec<InstallNote>,
) -> Result<Prepared, ModelError> {
    let plain = trial.run_whole(recognised)?;
    if recognised.family == Family::Yolov8 && choice == HeadChoice::CutIfPossible {
        match trial.cut(recognised, &plain) {
            Ok(cut) => {
                notes.push(InstallNote::HeadCut {
                    score_difference: cut.score_difference,
                    box_difference: cut.box_difference,
                });
                if let Some(detail) = cut.why_fixed {
                    notes.push(InstallNote::SizeFixed { detail });
                }
                let input = model_input(recognised, cut.size);
                return Ok(Prepared {
                    bytes: cut.bytes,
                    head: HeadKind::Yolov8Cut,
                    strides: cut.strides,
                    input,
                });
            }
            Err(reason) => notes.push(InstallNote::HeadKept(reason)),
        }
    }
    let head = match recognised.family {
        Family::Yolov8 => HeadKind::Yolov8,
        Family::Yolox => HeadKind::Yolox,
    };
    let (width, height) = recognised.size;
    let is_free = recognised.is_size_free;
    let size = if is_free { InputSize::Free } else { InputSize::Fixed { height, width } };
    Ok(Prepared {
        bytes: trial.bytes.to_vec(),
        head,
        strides: STRIDES.to_vec(),
        input: model_input(recognised, size),
    })
}

fn model_input(recognised: &Recognised, size: InputSize) -> ModelInput {
    let (width, height) = recognised.size;
    match size {
        InputSize::Free => {
            ModelInput::Dynamic { long_side: width.max(height), multiple_of: STRIDES[2] }
        }
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
    let text = toml::to_string_pretty(manifest).map_err(|error| ModelError::Write {
        path: dir.join(MANIFEST_FILE),
        source: io::Error::other(error),
    })?;
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
