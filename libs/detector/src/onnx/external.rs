//! External data: weights in other files than the model, such as `model.onnx.data`.
//!
//! A model can name any path and any offset. Only files in the model's folder or below it are read, and
//! never more than one ONNX file can hold.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};

use prost::{Message, bytes::Bytes};

use super::{
    error::OnnxError,
    model::OnnxModel,
    proto::{
        TensorProto,
        tensor_proto::{DataLocation, DataType},
    },
    tensors::{external_tensors, for_each_tensor},
};

/// The largest protobuf message, and so the largest ONNX file.
pub(crate) const MOST_BYTES: u64 = 2 * 1024 * 1024 * 1024 - 1;

/// The location of a tensor's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, relative to the folder of the model and never above it.
    pub file: PathBuf,
    /// The first byte of the values.
    pub offset: u64,
    /// Their length in bytes; `None` where neither the file nor the type determines it.
    pub length: Option<u64>,
}

impl Place {
    /// The location that `tensor` declares.
    ///
    /// # Errors
    /// [`OnnxError::BadExternalData`] when it is invalid, or outside the model's folder.
    pub fn of(tensor: &TensorProto) -> Result<Self, OnnxError> {
        let bad = |problem: String| OnnxError::BadExternalData {
            tensor: tensor.name().to_owned(),
            problem,
        };
        let entry = |key: &str| {
            let entry = tensor.external_data.iter().find(|entry| entry.key() == key);
            entry.map(|entry| entry.value())
        };
        let number = |key: &str| match entry(key).map(str::trim) {
            None | Some("") => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
                bad(format!("its {key} '{}' is not a number of bytes", shortened(text)))
            }),
        };
        let location = entry("location").unwrap_or_default();
        if location.is_empty() {
            return Err(bad("the model does not name it".to_owned()));
        }
        // Paths written on Windows may have backslashes.
        let file = PathBuf::from(location.replace('\\', "/"));
        if !file.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(bad(format!(
                "its path '{}' leads out of the model's folder; weights must be beside the model",
                shortened(location)
            )));
        }
        let (offset, given) = (number("offset")?.unwrap_or(0), number("length")?);
        let expected = size_of(tensor);
        match (given, expected) {
            (Some(given), Some(expected)) if given != expected => Err(bad(format!(
                "they should have {expected} bytes by their shape {:?}, but the model says {given}",
                tensor.dims
            ))),
            _ => Ok(Self { file, offset, length: given.or(expected) }),
        }
    }
}

/// A text from the file, cut to a length for messages.
fn shortened(text: &str) -> String {
    const MOST: usize = 120;
    let mut shortened: String = text.chars().take(MOST).collect();
    if shortened.len() < text.len() {
        shortened.push('…');
    }
    shortened
}

/// The bytes of the values of `tensor` by its shape and type; `None` for types of less than a byte.
fn size_of(tensor: &TensorProto) -> Option<u64> {
    let width = match DataType::try_from(tensor.data_type()).ok()? {
        DataType::Uint8 | DataType::Int8 | DataType::Bool => 1,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => 2,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 8,
        _ => return None,
    };
    let mut bytes = width;
    for &size in &tensor.dims {
        bytes = u64::try_from(size).ok().and_then(|size| size.checked_mul(bytes))?;
    }
    Some(bytes)
}

/// The result of [`embed`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Embedded {
    /// The files, in the order in which they are first named.
    pub files: Vec<PathBuf>,
    /// The bytes of all values together.
    pub bytes: u64,
}

/// Reads all values in other files of `folder` into `model`, and passes the bytes of each to `read`.
///
/// # Errors
/// [`OnnxError`] when a file is missing, too short or unreadable, and when the result would be larger than
/// one ONNX file can be. All sizes are checked before anything is read.
pub fn embed(
    model: &mut OnnxModel,
    folder: &Path,
    mut read: impl FnMut(&[u8]),
) -> Result<Embedded, OnnxError> {
    let mut embedded = Embedded::default();
    let mut places = Vec::new();
    for tensor in external_tensors(&model.proto) {
        let (place, length) = located(tensor, folder)?;
        embedded.bytes = embedded.bytes.saturating_add(length);
        if !embedded.files.contains(&place.file) {
            embedded.files.push(place.file.clone());
        }
        places.push((place, length));
    }
    let bytes = embedded.bytes.saturating_add(model.proto.encoded_len() as u64);
    if bytes > MOST_BYTES {
        return Err(OnnxError::TooLarge { bytes });
    }
    let mut places = places.into_iter();
    for_each_tensor(&mut model.proto, &mut |tensor| {
        if tensor.data_location() != DataLocation::External {
            return Ok(());
        }
        let Some((place, length)) = places.next() else { return Ok(()) };
        let path = folder.join(&place.file);
        let values = read_at(&path, place.offset, length)
            .map_err(|error| unreadable(tensor, &path, &error))?;
        read(&values);
        tensor.raw_data = Some(Bytes::from(values));
        tensor.external_data.clear();
        tensor.data_location = None;
        Ok(())
    })?;
    Ok(embedded)
}

/// The location and length of the values of `tensor`, checked against the file.
fn located(tensor: &TensorProto, folder: &Path) -> Result<(Place, u64), OnnxError> {
    let place = Place::of(tensor)?;
    let path = folder.join(&place.file);
    let found = path.metadata().map_err(|error| unreadable(tensor, &path, &error))?;
    if !found.is_file() {
        return Err(unreadable(tensor, &path, &io::Error::other("it is not a file")));
    }
    let rest = found.len().checked_sub(place.offset);
    match (place.length, rest) {
        (Some(length), Some(rest)) if length <= rest => Ok((place, length)),
        (None, Some(rest)) => Ok((place, rest)),
        (length, _) => Err(OnnxError::BadExternalData {
            tensor: tensor.name().to_owned(),
            problem: format!(
                "they should be {} bytes from byte {} of {}, which has {} bytes; it may be truncated, or \
                 belong to another model",
                length.map_or_else(|| "some".to_owned(), |length| length.to_string()),
                place.offset,
                path.display(),
                found.len()
            ),
        }),
    }
}

fn unreadable(tensor: &TensorProto, path: &Path, error: &io::Error) -> OnnxError {
    let detail = match error.kind() {
        io::ErrorKind::NotFound => "the file does not exist".to_owned(),
        _ => error.to_string(),
    };
    OnnxError::UnreadableExternalData {
        tensor: tensor.name().to_owned(),
        path: path.to_owned(),
        detail,
    }
}

fn read_at(path: &Path, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut values = Vec::new();
    file.take(length).read_to_end(&mut values)?;
    if values.len() as u64 == length {
        return Ok(values);
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends early"))
}
