//! A loaded model: preprocessed pictures in, named objects out.

mod batch;
mod shared;

use std::time::{Duration, Instant};

use domain::{DetectedObject, Detection, DetectionSettings, LabelMap, Sha256Digest};

use crate::{
    decode::Warnings,
    error::DetectError,
    families::{DecodeRequest, Duplicates, Head},
    model::bundle::ModelBundle,
    model::error::ModelError,
    model::manifest::ModelInput,
    onnx_runtime::{
        error::OnnxRuntimeError,
        library::OnnxRuntime,
        session::{InferenceSession, SessionOptions},
    },
    postprocess::candidate::Candidate,
    postprocess::nms::{best, non_maximum_suppression},
    preprocess::{PreprocessedPicture, letterbox::ValueRange},
    tensor::{InputBatch, InputTensor, OutputView},
};

pub use batch::BatchItem;
pub use shared::SharedModel;

/// How long each stage took for one picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageTimings {
    /// Decoding the file's bytes to pixels.
    pub decode: Duration,
    /// Scaling and padding the pixels to the model's input.
    pub letterbox: Duration,
    /// The run of the model. For a picture of a batch, the batch's run divided by its pictures.
    pub infer: Duration,
    /// Decoding boxes and non-maximum suppression.
    pub postprocess: Duration,
}

/// The detections of one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Detections {
    /// Objects in pixels of the picture and within it, highest confidence first.
    pub objects: Vec<DetectedObject>,
    /// The picture's width in pixels, after its EXIF orientation.
    pub width: u32,
    /// The picture's height in pixels, after its EXIF orientation.
    pub height: u32,
    /// Damage to the picture's pixels, as texts for people. Where there is some, objects may be missing.
    pub warnings: Warnings,
    /// The digest of the model that was run; see [`ModelBundle::digest`].
    pub model_digest: Sha256Digest,
    /// How long each stage took.
    pub timings: StageTimings,
}

/// Turns the outputs of a run into the detections of each picture.
#[derive(Debug)]
struct Postprocessor {
    head: Head,
    labels: LabelMap,
    model_digest: Sha256Digest,
    /// Reused from picture to picture, to save the allocation.
    candidates: Vec<Candidate>,
}

/// One picture of a run: its place in the run's outputs, and how it was put into the run's input.
struct RunPicture<'a> {
    /// Its place in the batch, from 0.
    batch_index: usize,
    prepared: &'a PreprocessedPicture,
    settings: &'a DetectionSettings,
    /// The run's time divided by its pictures.
    infer_time: Duration,
}

impl Postprocessor {
    fn detections(
        &mut self,
        outputs: &[OutputView<'_>],
        picture: &RunPicture<'_>,
    ) -> Result<Detections, DetectError> {
        let start = Instant::now();
        let RunPicture { batch_index, prepared, settings, infer_time } = *picture;
        let request = DecodeRequest {
            batch_index,
            input_width: prepared.tensor.width,
            input_height: prepared.tensor.height,
            threshold: settings.confidence,
        };
        let wanted = settings.classes.resolve(&self.labels)?;
        self.candidates.clear();
        self.head.decode_boxes(outputs, &request, &mut self.candidates)?;
        if let Some(wanted) = wanted {
            self.candidates.retain(|candidate| wanted.contains(&candidate.class_id));
        }
        // Where a model gives each object once, boxes drop one another only if the request asks for that across classes.
        let kept = if self.head.duplicates() == Duplicates::Absent && !settings.class_agnostic {
            best(&self.candidates, settings.max_detections)
        } else {
            non_maximum_suppression(&self.candidates, settings.into())
        };
        let (width, height) = (prepared.width as f32, prepared.height as f32);
        let in_picture = |candidate: Candidate| Detection {
            bbox: prepared.letterbox.to_source(candidate.bbox).clip(width, height),
            class_id: candidate.class_id,
            confidence: candidate.score,
        };
        let objects = kept.into_iter().map(|kept| self.labels.name(in_picture(kept))).collect();
        Ok(Detections {
            objects,
            width: prepared.width,
            height: prepared.height,
            warnings: prepared.warnings.clone(),
            model_digest: self.model_digest,
            timings: StageTimings {
                decode: prepared.decode_time,
                letterbox: prepared.letterbox_time,
                infer: infer_time,
                postprocess: start.elapsed(),
            },
        })
    }
}

/// A loaded model with its postprocessing. It runs one batch at a time; load several for parallel runs.
#[derive(Debug)]
pub struct Detector {
    session: InferenceSession,
    postprocessor: Postprocessor,
    input: ModelInput,
    range: ValueRange,
    /// The input of a batch: the tensors of its pictures, concatenated.
    batch: Vec<f32>,
}

impl Detector {
    /// Loads the model of `bundle`, after checking that it is the one that was installed.
    ///
    /// # Errors
    /// [`ModelError`] when its file was changed or ONNX Runtime rejects it.
    pub fn load(
        runtime: &OnnxRuntime,
        bundle: &ModelBundle,
        options: &SessionOptions,
    ) -> Result<Self, ModelError> {
        let model = bundle.read_model()?;
        Self::around(InferenceSession::load(runtime, &model, options), bundle)
    }

    fn around(
        session: Result<InferenceSession, OnnxRuntimeError>,
        bundle: &ModelBundle,
    ) -> Result<Self, ModelError> {
        let session = session
            .map_err(|source| ModelError::OnnxRuntime { path: bundle.model_path(), source })?;
        let head = bundle.head();
        if let Some(expected) = head.output_names()
            && !session.output_names().eq(&expected)
        {
            let found: Vec<&str> = session.output_names().collect();
            let detail = format!("its outputs are {found:?}, expected {expected:?}");
            return Err(ModelError::DoesNotRun { path: bundle.model_path(), detail });
        }
        Ok(Self {
            session,
            postprocessor: Postprocessor {
                head,
                labels: bundle.labels().clone(),
                model_digest: bundle.digest(),
                candidates: Vec::new(),
            },
            input: bundle.manifest().input,
            range: bundle.manifest().preprocessing().range,
            batch: Vec::new(),
        })
    }

    /// Finds the objects in a picture from this model's [`Preprocessor`](crate::Preprocessor).
    ///
    /// # Errors
    /// [`DetectError`] when ONNX Runtime fails or the picture was prepared for another model.
    pub fn detect(
        &mut self,
        prepared: &PreprocessedPicture,
        settings: &DetectionSettings,
    ) -> Result<Detections, DetectError> {
        self.check_size(&prepared.tensor)?;
        let start = Instant::now();
        let outputs = self.session.run(&InputBatch::of(&prepared.tensor), None)?;
        let infer_time = start.elapsed();
        let picture = RunPicture { batch_index: 0, prepared, settings, infer_time };
        self.postprocessor.detections(&outputs.views()?, &picture)
    }

    /// A model with dynamic sizes would run on a tensor of any size, and its boxes would be wrong.
    fn check_size(&self, tensor: &InputTensor) -> Result<(), DetectError> {
        let (width, height) = (tensor.width, tensor.height);
        let (fits, expected) = match self.input {
            ModelInput::Fixed { width: w, height: h } => {
                ((width, height) == (w as usize, h as usize), format!("{w}×{h}"))
            }
            ModelInput::Dynamic { multiple_of, .. } => {
                let step = multiple_of as usize;
                let fits = width.is_multiple_of(step) && height.is_multiple_of(step) && width > 0;
                (fits && height > 0, format!("multiples of {step}"))
            }
        };
        if fits {
            return Ok(());
        }
        Err(DetectError::WrongInputSize { found: size_of(tensor), expected })
    }
}

fn size_of(tensor: &InputTensor) -> String {
    format!("{}×{}", tensor.width, tensor.height)
}
