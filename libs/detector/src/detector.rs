//! The whole pipeline: picture bytes in, named objects out.

mod batch;
mod shared;

use std::time::{Duration, Instant};

use domain::{
    DetectedObject, Detection, DetectionSettings, LabelMap, Sha256Digest, picture::PictureLimits,
};

use crate::{
    bundle::{ModelBundle, ModelInput},
    decode::{ReducedPicture, Warnings, decode_reduced_into},
    error::{DetectError, ModelError, RuntimeError},
    head::{DecodeRequest, Head, OutputView},
    letterbox::{InputTensor, Letterbox, LetterboxSpec, letterbox_reduced},
    nms::non_maximum_suppression,
    session::{Canceller, InferenceSession, InputBatch, Runtime, SessionOptions},
};

pub use batch::BatchItem;
pub use shared::SharedModel;

/// A picture as the model takes it, with the way back to its own pixels.
#[derive(Debug, Clone)]
pub struct PreparedPicture {
    /// `[1, 3, height, width]`, in the channels and the range of the model.
    pub tensor: InputTensor,
    /// Where the picture lies in the tensor.
    pub letterbox: Letterbox,
    /// The picture's width in pixels, after its EXIF orientation.
    pub width: u32,
    /// The picture's height in pixels, after its EXIF orientation.
    pub height: u32,
    /// What is wrong with its pixels, for people.
    pub warnings: Warnings,
    /// How long decoding took.
    pub decode_time: Duration,
    /// How long letterboxing took.
    pub letterbox_time: Duration,
    /// Kept for its memory.
    picture: ReducedPicture,
}

/// Turns picture bytes into a model's input. Needs no model, so it may run on any thread while the
/// model works on another picture.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    spec: LetterboxSpec,
    limits: PictureLimits,
}

impl Preprocessor {
    /// Decodes and letterboxes a picture.
    ///
    /// A JPEG of at least six times the size that the model takes is decoded at a part of its size, see
    /// [`decode_reduced_into`]; boxes are in its own pixels nevertheless.
    ///
    /// # Errors
    /// [`DetectError::Undecodable`] when the bytes are no picture or break the limits.
    pub fn prepare(&self, bytes: &[u8]) -> Result<PreparedPicture, DetectError> {
        self.prepare_with(bytes, ReducedPicture::default(), InputTensor::default())
    }

    /// As [`Preprocessor::prepare`], in the memory of an earlier picture.
    ///
    /// # Errors
    /// As [`Preprocessor::prepare`].
    pub fn prepare_reusing(
        &self,
        bytes: &[u8],
        used: PreparedPicture,
    ) -> Result<PreparedPicture, DetectError> {
        self.prepare_with(bytes, used.picture, used.tensor)
    }

    fn prepare_with(
        &self,
        bytes: &[u8],
        mut picture: ReducedPicture,
        mut tensor: InputTensor,
    ) -> Result<PreparedPicture, DetectError> {
        let start = Instant::now();
        let scale = |width, height| self.spec.scale(width, height);
        let warnings = decode_reduced_into(bytes, &self.limits, scale, &mut picture)?;
        let decoded = Instant::now();
        let letterbox = letterbox_reduced(&picture, &self.spec, &mut tensor);
        Ok(PreparedPicture {
            tensor,
            letterbox,
            width: picture.width(),
            height: picture.height(),
            warnings,
            decode_time: decoded - start,
            letterbox_time: decoded.elapsed(),
            picture,
        })
    }
}

/// How long each stage took for one picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageTimings {
    /// Bytes to pixels.
    pub decode: Duration,
    /// Pixels to the model's input.
    pub letterbox: Duration,
    /// The model; for a picture of a batch its share of the batch's run.
    pub infer: Duration,
    /// The model's outputs to boxes, and dropping those that overlap.
    pub postprocess: Duration,
}

/// What the model found in a prepared picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Inference {
    /// Boxes in pixels of the source picture and within it, highest confidence first.
    pub detections: Vec<Detection>,
    /// How long the model took.
    pub infer_time: Duration,
    /// How long the boxes took.
    pub postprocess_time: Duration,
}

/// What was found in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Objects in pixels of the picture and within it, highest confidence first.
    pub objects: Vec<DetectedObject>,
    /// The picture's width in pixels, after its EXIF orientation.
    pub width: u32,
    /// The picture's height in pixels, after its EXIF orientation.
    pub height: u32,
    /// What is wrong with the picture's pixels, for people: where there is something, objects may be missing.
    pub warnings: Warnings,
    /// What the model that found them comes to; see [`ModelBundle::digest`].
    pub model_digest: Sha256Digest,
    /// How long each stage took.
    pub timings: StageTimings,
}

impl Found {
    fn name(
        labels: &LabelMap,
        model_digest: Sha256Digest,
        prepared: &PreparedPicture,
        inference: Inference,
    ) -> Self {
        let objects = inference.detections.into_iter().map(|found| labels.name(found));
        let timings = StageTimings {
            decode: prepared.decode_time,
            letterbox: prepared.letterbox_time,
            infer: inference.infer_time,
            postprocess: inference.postprocess_time,
        };
        let (width, height) = (prepared.width, prepared.height);
        let warnings = prepared.warnings.clone();
        Self { objects: objects.collect(), width, height, warnings, model_digest, timings }
    }
}

/// From what the model gave to the objects of one picture.
#[derive(Debug)]
struct Decoding {
    head: Head,
    /// Kept from picture to picture for its memory.
    candidates: Vec<Detection>,
}

impl Decoding {
    /// The objects of the picture at `batch_index`, which took `infer_time` of the model's.
    fn decode(
        &mut self,
        outputs: &[OutputView<'_>],
        batch_index: usize,
        prepared: &PreparedPicture,
        settings: &DetectionSettings,
        infer_time: Duration,
    ) -> Result<Inference, DetectError> {
        let start = Instant::now();
        let request = DecodeRequest {
            batch_index,
            input_width: prepared.tensor.width,
            input_height: prepared.tensor.height,
            confidence: settings.confidence,
        };
        self.candidates.clear();
        self.head.decode_boxes(outputs, &request, &mut self.candidates)?;
        let mut detections =
            non_maximum_suppression(&self.candidates, settings.iou, settings.max_detections);
        let (width, height) = (prepared.width as f32, prepared.height as f32);
        for found in &mut detections {
            found.bbox = prepared.letterbox.to_source(found.bbox).clip(width, height);
        }
        Ok(Inference { detections, infer_time, postprocess_time: start.elapsed() })
    }
}

/// A loaded model with everything around it. One run at a time; load several to run several.
#[derive(Debug)]
pub struct Detector {
    session: InferenceSession,
    decoding: Decoding,
    input: ModelInput,
    labels: LabelMap,
    digest: Sha256Digest,
    /// Kept from picture to picture for its memory.
    used: Option<PreparedPicture>,
    /// Where the pictures of a batch are put one behind the other.
    batch: Vec<f32>,
}

impl Detector {
    /// Loads the model of `bundle`, after checking that it is the one that was installed.
    ///
    /// # Errors
    /// [`ModelError`] when its file was changed or ONNX Runtime refuses it.
    pub fn load(
        runtime: &Runtime,
        bundle: &ModelBundle,
        options: &SessionOptions,
    ) -> Result<Self, ModelError> {
        let model = bundle.read_model()?;
        Self::around(InferenceSession::load(runtime, &model, options), bundle)
    }

    fn around(
        session: Result<InferenceSession, RuntimeError>,
        bundle: &ModelBundle,
    ) -> Result<Self, ModelError> {
        let session =
            session.map_err(|source| ModelError::Runtime { path: bundle.model_path(), source })?;
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
            decoding: Decoding { head, candidates: Vec::new() },
            input: bundle.manifest().input,
            labels: bundle.labels().clone(),
            digest: bundle.digest(),
            used: None,
            batch: Vec::new(),
        })
    }

    /// What prepares pictures for this model.
    #[must_use]
    pub fn preprocessor(&self, limits: PictureLimits) -> Preprocessor {
        let spec = self.decoding.head.kind.letterbox_spec(self.input.target());
        Preprocessor { spec, limits }
    }

    /// What the model comes to; see [`ModelBundle::digest`].
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// The names of the model's classes.
    #[must_use]
    pub fn labels(&self) -> &LabelMap {
        &self.labels
    }

    /// Runs the model on a picture from this model's [`Preprocessor`].
    ///
    /// # Errors
    /// [`DetectError`] when ONNX Runtime fails or the picture was prepared for another model.
    pub fn infer(
        &mut self,
        prepared: &PreparedPicture,
        settings: &DetectionSettings,
    ) -> Result<Inference, DetectError> {
        self.run(prepared, settings, None)
    }

    /// As [`Detector::infer`], until `canceller` is called.
    ///
    /// # Errors
    /// [`DetectError::Cancelled`] when it was, and as [`Detector::infer`].
    pub fn infer_cancellable(
        &mut self,
        prepared: &PreparedPicture,
        settings: &DetectionSettings,
        canceller: &Canceller,
    ) -> Result<Inference, DetectError> {
        self.run(prepared, settings, Some(canceller))
    }

    /// Finds the objects in a picture.
    ///
    /// # Errors
    /// [`DetectError`]; see [`DetectError::is_permanent`].
    pub fn detect(
        &mut self,
        bytes: &[u8],
        limits: &PictureLimits,
        settings: &DetectionSettings,
    ) -> Result<Found, DetectError> {
        self.find(bytes, limits, settings, None)
    }

    /// As [`Detector::detect`], until `canceller` is called.
    ///
    /// # Errors
    /// [`DetectError::Cancelled`] when it was, and as [`Detector::detect`].
    pub fn detect_cancellable(
        &mut self,
        bytes: &[u8],
        limits: &PictureLimits,
        settings: &DetectionSettings,
        canceller: &Canceller,
    ) -> Result<Found, DetectError> {
        self.find(bytes, limits, settings, Some(canceller))
    }

    /// Finds the objects in a picture from this model's [`Preprocessor`], until `canceller` is
    /// called.
    ///
    /// # Errors
    /// As [`Detector::infer_cancellable`].
    pub fn detect_prepared(
        &mut self,
        prepared: &PreparedPicture,
        settings: &DetectionSettings,
        canceller: &Canceller,
    ) -> Result<Found, DetectError> {
        self.find_in(prepared, settings, Some(canceller))
    }

    fn find(
        &mut self,
        bytes: &[u8],
        limits: &PictureLimits,
        settings: &DetectionSettings,
        canceller: Option<&Canceller>,
    ) -> Result<Found, DetectError> {
        let preprocessor = self.preprocessor(*limits);
        let prepared = match self.used.take() {
            Some(used) => preprocessor.prepare_reusing(bytes, used)?,
            None => preprocessor.prepare(bytes)?,
        };
        let found = self.find_in(&prepared, settings, canceller);
        self.used = Some(prepared);
        found
    }

    fn find_in(
        &mut self,
        prepared: &PreparedPicture,
        settings: &DetectionSettings,
        canceller: Option<&Canceller>,
    ) -> Result<Found, DetectError> {
        let inference = self.run(prepared, settings, canceller)?;
        Ok(Found::name(&self.labels, self.digest, prepared, inference))
    }

    fn run(
        &mut self,
        prepared: &PreparedPicture,
        settings: &DetectionSettings,
        canceller: Option<&Canceller>,
    ) -> Result<Inference, DetectError> {
        self.check_size(&prepared.tensor)?;
        let start = Instant::now();
        let outputs = self.session.run(&InputBatch::of(&prepared.tensor), canceller)?;
        let infer_time = start.elapsed();
        self.decoding.decode(&outputs.views()?, 0, prepared, settings, infer_time)
    }

    /// Another size would run too, on a model that is free in it, and give boxes that mean nothing.
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
