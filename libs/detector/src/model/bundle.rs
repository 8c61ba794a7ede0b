//! Installed models: a folder with `model.onnx` and `model.toml`, its description.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use domain::{LabelMap, ModelName, Sha256Digest, picture::PictureLimits};

use crate::{
    families::Head,
    model::{
        error::ModelError,
        manifest::{MOST_BYTES, Manifest},
    },
    preprocess::{Preprocessor, letterbox::LetterboxSpec},
};

/// The file that holds the graph and its weights.
pub const MODEL_FILE: &str = "model.onnx";
/// The file that describes it.
pub const MANIFEST_FILE: &str = "model.toml";

/// An installed model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelBundle {
    dir: PathBuf,
    manifest: Manifest,
    digest: Sha256Digest,
}

/// A folder of `models_dir`, and the model in it.
#[derive(Debug)]
pub struct ListedModel {
    /// The folder, named after the model.
    pub dir: PathBuf,
    /// The model, or why it cannot be used.
    pub bundle: Result<ModelBundle, ModelError>,
}

impl ModelBundle {
    /// Reads and checks the description of the model in the folder `dir`.
    ///
    /// # Errors
    /// [`ModelError`] when it is missing or damaged. The model itself is not read; see
    /// [`ModelBundle::verify`].
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let path = dir.join(MANIFEST_FILE);
        let missing = |missing| ModelError::NotInstalled { dir: dir.to_owned(), missing };
        let text = read_manifest(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => missing(MANIFEST_FILE),
            _ => ModelError::Read { path: path.clone(), source },
        })?;
        let manifest =
            Manifest::parse(&text).map_err(|source| ModelError::Manifest { path, source })?;
        if !dir.join(MODEL_FILE).is_file() {
            return Err(missing(MODEL_FILE));
        }
        let digest = Sha256Digest::of(&text);
        Ok(Self { dir: dir.to_owned(), manifest, digest })
    }

    /// Every folder of `models_dir` with the name of a model, sorted. Empty if `models_dir` does not exist.
    ///
    /// # Errors
    /// [`ModelError::Read`] when `models_dir` cannot be listed. A model that cannot be used does
    /// not hide the others: see [`ListedModel::bundle`].
    pub fn list(models_dir: &Path) -> Result<Vec<ListedModel>, ModelError> {
        let unreadable = |source| ModelError::Read { path: models_dir.to_owned(), source };
        let entries = match fs::read_dir(models_dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut dirs = Vec::new();
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            // The folder of an installation in progress has a name that no model can have.
            let is_named =
                entry.file_name().to_str().is_some_and(|n| n.parse::<ModelName>().is_ok());
            if is_named && entry.path().is_dir() {
                dirs.push(entry.path());
            }
        }
        dirs.sort();
        let listed = |dir: PathBuf| ListedModel { bundle: Self::load(&dir), dir };
        Ok(dirs.into_iter().map(listed).collect())
    }

    /// Checks that `model.onnx` is byte for byte the file that was installed.
    ///
    /// # Errors
    /// [`ModelError::ChecksumMismatch`], or [`ModelError::Read`].
    pub fn verify(&self) -> Result<(), ModelError> {
        self.read_model().map(drop)
    }

    /// The bytes of `model.onnx`, verified.
    pub(crate) fn read_model(&self) -> Result<Vec<u8>, ModelError> {
        let path = self.model_path();
        let bytes =
            fs::read(&path).map_err(|source| ModelError::Read { path: path.clone(), source })?;
        let (found, expected) = (Sha256Digest::of(&bytes), self.manifest.sha256);
        if found == expected {
            return Ok(bytes);
        }
        Err(ModelError::ChecksumMismatch { path, expected, found })
    }

    /// The path of `model.onnx`.
    #[must_use]
    pub fn model_path(&self) -> PathBuf {
        self.dir.join(MODEL_FILE)
    }

    /// The content of `model.toml`.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The sha256 of `model.toml`. It identifies all that a result depends on: the description holds
    /// labels, head and input size, and the sha256 of the graph and its weights.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// The name by which jobs select the model.
    #[must_use]
    pub fn name(&self) -> &ModelName {
        &self.manifest.name
    }

    /// The names of its classes.
    #[must_use]
    pub fn labels(&self) -> &LabelMap {
        &self.manifest.labels
    }

    /// The preprocessor for this model, which rejects pictures beyond `limits`.
    #[must_use]
    pub fn preprocessor(&self, limits: PictureLimits) -> Preprocessor {
        let target = self.manifest.input.target();
        let preprocessing = self.manifest.preprocessing();
        Preprocessor::new(LetterboxSpec { target, preprocessing }, limits)
    }

    pub(crate) fn head(&self) -> Head {
        let Manifest { head, strides, labels, .. } = &self.manifest;
        Head { kind: *head, strides: strides.clone(), classes: labels.len() }
    }
}

/// The text of a description, read up to its largest allowed size.
fn read_manifest(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        let problem = format!("it has more than {MOST_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{families::HeadKind, model::manifest::ModelInput};
    use crate::{
        model::manifest::ManifestError,
        preprocess::letterbox::{ChannelOrder, Placement, Preprocessing, Resampling, ValueRange},
    };

    fn manifest() -> Manifest {
        Manifest {
            name: "tiny".parse().unwrap(),
            head: HeadKind::YOLOV8_CUT,
            strides: vec![8, 16, 32],
            license: "CC0".to_owned(),
            producer: "by hand".to_owned(),
            sha256: Sha256Digest::of(b"weights"),
            source_sha256: Sha256Digest::of(b""),
            labels: LabelMap::new(vec!["it's a \"cat\"".to_owned()]),
            input: ModelInput::Dynamic { long_side: 640, multiple_of: 32 },
            preprocessing: None,
        }
    }

    fn install(dir: &Path, text: &str) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join(MANIFEST_FILE), text).unwrap();
        fs::write(dir.join(MODEL_FILE), "weights").unwrap();
    }

    #[test]
    fn a_description_survives_its_file() {
        for input in [
            ModelInput::Dynamic { long_side: 640, multiple_of: 32 },
            ModelInput::Fixed { width: 416, height: 320 },
        ] {
            let dir = tempfile::tempdir().unwrap();
            let manifest = Manifest { input, ..manifest() };
            install(dir.path(), &toml::to_string_pretty(&manifest).unwrap());
            let bundle = ModelBundle::load(dir.path()).unwrap();
            assert_eq!(bundle.manifest(), &manifest);
            bundle.verify().unwrap();
        }
    }

    #[test]
    fn a_description_says_what_pictures_are_taken_as() {
        let preprocessing = Preprocessing {
            placement: Placement::Stretch,
            resampling: Resampling::Antialiased,
            channels: ChannelOrder::Rgb,
            range: ValueRange::Standardised {
                mean: [0.5, 0.25, 0.125],
                deviation: [0.5, 0.25, 1.0],
            },
        };
        let (head, strides) = (HeadKind::RT_DETR, Vec::new());
        let told = Manifest { preprocessing: Some(preprocessing), head, strides, ..manifest() };
        let text = told.to_text().unwrap();
        for line in [
            "placement = \"stretch\"",
            "resampling = \"antialiased\"",
            "channels = \"rgb\"",
            "[preprocessing.range.standardised]",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert_eq!(Manifest::parse(&text).unwrap(), told);
        assert_eq!(told.preprocessing(), preprocessing);
        // Descriptions by older versions say nothing, and mean the head's own.
        let untold = manifest();
        assert!(!untold.to_text().unwrap().contains("preprocessing"));
        assert_eq!(untold.preprocessing().placement, Placement::Centre);
        for deviation in ["0.0", "-1.0", "nan", "inf"] {
            let text = text.replace("1.0,\n]", &format!("{deviation},\n]"));
            let error = Manifest::parse(&text).unwrap_err();
            assert!(matches!(error, ManifestError::Deviation { .. }), "{deviation}: {error}");
        }
        let no_levels = told.to_text().unwrap().replace("rt-detr", "yolov8");
        assert!(matches!(Manifest::parse(&no_levels), Err(ManifestError::Strides(_))));
    }

    #[test]
    fn a_description_names_the_resampling() {
        for (resampling, name) in [
            (Resampling::Bilinear, "bilinear"),
            (Resampling::Antialiased, "antialiased"),
            (Resampling::BilinearFloat, "bilinear-float"),
        ] {
            let preprocessing =
                Some(Preprocessing { resampling, ..HeadKind::RF_DETR.preprocessing() });
            let told = Manifest { preprocessing, ..manifest() };
            let text = told.to_text().unwrap();
            assert!(text.contains(&format!("resampling = \"{name}\"")), "{text}");
            assert_eq!(Manifest::parse(&text).unwrap(), told);
        }
    }

    #[test]
    fn a_description_without_an_end_is_not_read_to_it() {
        let dir = tempfile::tempdir().unwrap();
        install(dir.path(), "");
        let file = fs::File::create(dir.path().join(MANIFEST_FILE)).unwrap();
        // Sparse: it uses no disk space, and reading all of it would use all memory.
        file.set_len(1 << 40).unwrap();
        let error = ModelBundle::load(dir.path()).unwrap_err();
        assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
    }

    #[test]
    fn a_changed_model_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        install(dir.path(), &toml::to_string_pretty(&manifest()).unwrap());
        let bundle = ModelBundle::load(dir.path()).unwrap();
        fs::write(bundle.model_path(), "Weights").unwrap();
        assert!(matches!(bundle.verify(), Err(ModelError::ChecksumMismatch { .. })));
    }

    #[test]
    fn another_model_or_another_description_of_it_has_another_digest() {
        let dir = tempfile::tempdir().unwrap();
        let digest_of = |manifest: &Manifest| {
            install(dir.path(), &toml::to_string_pretty(manifest).unwrap());
            ModelBundle::load(dir.path()).unwrap().digest()
        };
        let digest = digest_of(&manifest());
        assert_eq!(digest_of(&manifest()), digest);
        let input = ModelInput::Dynamic { long_side: 1280, multiple_of: 32 };
        for changed in [
            Manifest { sha256: Sha256Digest::of(b"Weights"), ..manifest() },
            Manifest { labels: LabelMap::new(vec!["dog".to_owned()]), ..manifest() },
            Manifest { input, ..manifest() },
        ] {
            assert_ne!(digest_of(&changed), digest, "{changed:?}");
        }
    }

    #[test]
    fn a_damaged_description_is_refused() {
        let good = toml::to_string_pretty(&manifest()).unwrap();
        for (from, to) in [
            ("yolov8-cut", "yolov9000"),
            ("name = \"tiny\"", "name = \"../tiny\""),
            ("long_side = 640", "long_side = 0"),
            ("strides", "stride"),
            ("sha256 = \"", "sha256 = \"z"),
        ] {
            assert!(good.contains(from), "{from} in {good}");
            let dir = tempfile::tempdir().unwrap();
            install(dir.path(), &good.replacen(from, to, 1));
            let error = ModelBundle::load(dir.path()).unwrap_err();
            assert!(matches!(error, ModelError::Manifest { .. }), "{to}: {error}");
        }
    }

    #[test]
    fn a_missing_model_is_no_broken_one() {
        let dir = tempfile::tempdir().unwrap();
        let load = || ModelBundle::load(dir.path()).unwrap_err();
        assert!(matches!(load(), ModelError::NotInstalled { missing: MANIFEST_FILE, .. }));
        install(dir.path(), &toml::to_string_pretty(&manifest()).unwrap());
        fs::remove_file(dir.path().join(MODEL_FILE)).unwrap();
        assert!(matches!(load(), ModelError::NotInstalled { missing: MODEL_FILE, .. }));
    }

    #[test]
    fn a_broken_model_does_not_hide_the_others() {
        let models = tempfile::tempdir().unwrap();
        assert!(ModelBundle::list(&models.path().join("absent")).unwrap().is_empty());
        install(&models.path().join("b"), &toml::to_string_pretty(&manifest()).unwrap());
        install(&models.path().join("a"), "nonsense");
        install(&models.path().join(".half.installed"), "nonsense");
        fs::write(models.path().join("README"), "").unwrap();
        let listed = ModelBundle::list(models.path()).unwrap();
        let usable: Vec<bool> = listed.iter().map(|model| model.bundle.is_ok()).collect();
        assert_eq!(usable, [false, true]);
    }
}
