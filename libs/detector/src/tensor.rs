//! Inputs and outputs of a run.

/// One picture as a model's input, shape `[1, 3, height, width]`, row-major.
///
/// [`letterbox`](crate::preprocess::letterbox::letterbox) reuses the memory of `data`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InputTensor {
    /// Three planes of `height` × `width` values.
    pub data: Vec<f32>,
    /// Rows of a plane.
    pub height: usize,
    /// Values of a row.
    pub width: usize,
}

/// The input of a run, `[pictures, 3, height, width]`, borrowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InputBatch<'a> {
    pub(crate) pictures: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) data: &'a [f32],
}

impl<'a> InputBatch<'a> {
    /// A single picture.
    pub(crate) fn of(tensor: &'a InputTensor) -> Self {
        let InputTensor { data, height, width } = tensor;
        Self { pictures: 1, height: *height, width: *width, data }
    }

    /// The values of these pictures, padded with black ones to `pictures`.
    pub(crate) fn padded_to(&self, pictures: usize) -> Vec<f32> {
        let mut data = Vec::with_capacity(pictures * 3 * self.height * self.width);
        data.extend_from_slice(self.data);
        data.resize(data.capacity(), 0.0);
        data
    }
}

/// One output of a run, borrowed from ONNX Runtime.
#[derive(Debug, Clone, Copy)]
pub struct OutputView<'a> {
    /// The size of each dimension, the batch first.
    pub shape: &'a [i64],
    /// The elements, the last dimension running fastest.
    pub data: &'a [f32],
}

impl<'a> OutputView<'a> {
    /// The part of the output that belongs to picture `index` of the batch, if there is one.
    pub(crate) fn of_picture(&self, index: usize) -> Option<&'a [f32]> {
        let batch = usize::try_from(*self.shape.first()?).ok()?;
        let mut length = 1_usize;
        for &size in &self.shape[1..] {
            length = length.checked_mul(usize::try_from(size).ok()?)?;
        }
        if index >= batch || self.data.len() != batch.checked_mul(length)? {
            return None;
        }
        self.data.get(index * length..(index + 1) * length)
    }

    /// The dimensions after the batch.
    pub(crate) fn picture_shape<const N: usize>(&self) -> Option<[usize; N]> {
        let mut shape = [0; N];
        if self.shape.len() != N + 1 {
            return None;
        }
        for (size, &found) in shape.iter_mut().zip(&self.shape[1..]) {
            *size = usize::try_from(found).ok()?;
        }
        Some(shape)
    }
}
