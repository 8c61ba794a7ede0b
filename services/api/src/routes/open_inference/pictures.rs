//! The pictures of an inference request, and what the answer to it should have.

use bytes::{Buf, Bytes};
use domain::{
    Sha256Digest, Sha256Hasher,
    picture::{PictureLimits, inspect},
};
use serde_json::Value;

use super::{
    request::{Elements, MAX_LISTED, MAX_PICTURES, SentInput, SentOutput, SentRequest},
    schema::INPUT,
    tensor_error::{Named, TensorError},
    tensors::{Output, OutputData, Requested},
};
use crate::{
    routes::bounded::Bounded,
    upload::{TensorBody, UploadSlot, decode_base64, multipart::printable},
};

/// The datatype of encoded pictures.
const BYTES: &str = "BYTES";
/// The bytes of a length in front of an element of a tensor of this datatype.
const PREFIX_BYTES: usize = 4;

/// An inference request whose pictures can be run.
pub(crate) struct InferenceRequest {
    /// What the client calls the request.
    pub(super) id: Option<String>,
    /// Settings of the detector, by the names of `/v1`.
    pub(super) settings: Vec<(&'static str, Value)>,
    pub(super) outputs: Vec<Requested>,
    pub(crate) pictures: Vec<Picture>,
    /// The permit for the memory of the pictures, to be held as long as they are.
    pub(super) slot: UploadSlot,
}

/// A complete picture.
pub(crate) struct Picture {
    pub(crate) bytes: Bytes,
    /// `None` if its result is not to be cached.
    pub(super) sha256: Option<Sha256Digest>,
}

impl InferenceRequest {
    /// Parses a body. This takes a while for large ones.
    ///
    /// # Errors
    /// [`TensorError`] if it is no request for a detector, or has a picture that is damaged or beyond `limits`.
    pub(crate) fn parse(body: TensorBody, limits: &PictureLimits) -> Result<Self, TensorError> {
        let TensorBody { json, contents, hasher, slot } = body;
        let Some(json) = json else {
            let pictures = checked(vec![contents], limits, hasher.as_ref())?;
            let outputs = Requested::all(OutputData::Json);
            return Ok(Self { id: None, settings: Vec::new(), outputs, pictures, slot });
        };
        let SentRequest { id, parameters, inputs, outputs } = serde_json::from_slice(&json)?;
        let default = match parameters.binary_data_output {
            true => OutputData::Binary,
            false => OutputData::Json,
        };
        let outputs = requested(outputs.map_or_else(Vec::new, |outputs| outputs.0), default)?;
        let found = found(only(inputs)?, contents)?;
        let pictures = checked(found, limits, hasher.as_ref())?;
        Ok(Self { id, settings: parameters.settings, outputs, pictures, slot })
    }
}

/// The one input.
fn only(inputs: Bounded<SentInput<'_>, MAX_LISTED>) -> Result<SentInput<'_>, TensorError> {
    let names = inputs.0.iter().map(|input| printable(&input.name).into_owned()).collect();
    let mut inputs = inputs.0.into_iter();
    match (inputs.next(), inputs.next()) {
        (Some(input), None) if input.name == INPUT => Ok(input),
        _ => Err(TensorError::Inputs(Named(names))),
    }
}

/// The elements of the input, in `contents` or in itself.
fn found(input: SentInput<'_>, contents: Bytes) -> Result<Vec<Bytes>, TensorError> {
    if input.datatype != BYTES {
        return Err(TensorError::Datatype(printable(&input.datatype).into_owned()));
    }
    let count = count(&input.shape.0)?;
    let parameters = input.parameters.unwrap_or_default();
    if parameters.shared_memory_region.is_some() {
        return Err(TensorError::SharedMemory);
    }
    let follow = contents.len();
    let pictures = match (parameters.binary_data_size, input.data) {
        (None, None) => return Err(TensorError::NoData),
        (Some(_), Some(_)) => return Err(TensorError::TwoContents),
        (Some(announced), None) if announced != follow as u64 => {
            return Err(TensorError::BinarySize { announced, found: follow });
        }
        (None, Some(_)) if follow > 0 => {
            return Err(TensorError::BinarySize { announced: 0, found: follow });
        }
        (Some(_), None) => prefixed(contents)?,
        (None, Some(elements)) => decoded(elements)?,
    };
    match pictures.len() == count {
        true => Ok(pictures),
        false => Err(TensorError::Count { shape: input.shape.0, found: pictures.len() }),
    }
}

/// How many pictures a tensor of this shape has.
fn count(shape: &[i64]) -> Result<usize, TensorError> {
    let wrong = || TensorError::Shape(shape.to_vec());
    let ([count] | [count, 1]) = *shape else { return Err(wrong()) };
    match usize::try_from(count) {
        Ok(0) | Err(_) => Err(wrong()),
        Ok(count) if count > MAX_PICTURES => Err(TensorError::TooMany(count)),
        Ok(count) => Ok(count),
    }
}

/// Elements with a length in front of each, which are slices of the body.
fn prefixed(mut contents: Bytes) -> Result<Vec<Bytes>, TensorError> {
    let mut elements = Vec::new();
    while contents.has_remaining() {
        let index = elements.len();
        if index == MAX_PICTURES {
            return Err(TensorError::TooMany(index + 1));
        }
        let cut_off = |needed, left| TensorError::CutOff { index, needed, left };
        let left = contents.len();
        let length = contents.try_get_u32_le().map_err(|_| cut_off(PREFIX_BYTES, left))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > contents.len() {
            return Err(cut_off(length, contents.len()));
        }
        elements.push(contents.split_to(length));
    }
    Ok(elements)
}

fn decoded(elements: Elements<'_>) -> Result<Vec<Bytes>, TensorError> {
    let decode = |(index, text): (usize, &str)| match decode_base64(text) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => Err(TensorError::Base64 { index, error }),
    };
    elements.0.iter().map(|text| &**text).enumerate().map(decode).collect()
}

/// The pictures with their digests, if there are to be some.
fn checked(
    pictures: Vec<Bytes>,
    limits: &PictureLimits,
    hasher: Option<&Sha256Hasher>,
) -> Result<Vec<Picture>, TensorError> {
    let check = |(index, bytes): (usize, Bytes)| {
        inspect(&bytes, limits).map_err(|error| TensorError::Picture { index, error })?;
        let sha256 = hasher.cloned().map(|mut hasher| {
            hasher.update(&bytes);
            hasher.finish()
        });
        Ok(Picture { bytes, sha256 })
    };
    pictures.into_iter().enumerate().map(check).collect()
}

/// What the answer should have: all outputs, unless the request names some.
fn requested(
    sent: Vec<SentOutput<'_>>,
    default: OutputData,
) -> Result<Vec<Requested>, TensorError> {
    if sent.is_empty() {
        return Ok(Requested::all(default));
    }
    let requested = |sent: SentOutput<'_>| {
        let name = || printable(&sent.name).into_owned();
        let output = Output::named(&sent.name).ok_or_else(|| TensorError::Output(name()))?;
        let parameters = sent.parameters.unwrap_or_default();
        if parameters.classification.is_some() {
            return Err(TensorError::Classification(name()));
        }
        if parameters.shared_memory_region.is_some() {
            return Err(TensorError::SharedMemory);
        }
        let data = match parameters.binary_data {
            Some(true) => OutputData::Binary,
            Some(false) => OutputData::Json,
            None => default,
        };
        Ok(Requested { output, data })
    };
    let all: Vec<Requested> = sent.into_iter().map(requested).collect::<Result<_, _>>()?;
    for (index, one) in all.iter().enumerate() {
        // Each takes memory for all pictures.
        if all.iter().take(index).any(|earlier| earlier.output == one.output) {
            return Err(TensorError::Twice(one.output.name()));
        }
    }
    Ok(all)
}
