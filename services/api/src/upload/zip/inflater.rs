//! Inflates content step by step.

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

/// How much is inflated at a time.
const STEP: usize = 64 * 1024;

/// Content that is being inflated.
pub(super) struct Inflater {
    inflate: Decompress,
    buffer: Vec<u8>,
}

/// One step.
pub(super) struct Inflated {
    /// How many bytes of the input it took.
    pub(super) taken: usize,
    pub(super) content: Bytes,
    /// Whether the content is complete.
    pub(super) is_complete: bool,
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new(false), buffer: vec![0; STEP] }
    }

    /// Inflates some of `input`. A step that neither takes nor gives anything needs more input.
    ///
    /// # Errors
    /// A text if the content is damaged.
    pub(super) fn step(&mut self, input: &[u8]) -> Result<Inflated, String> {
        let (taken_before, given_before) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(input, &mut self.buffer, FlushDecompress::None);
        let status = status.map_err(|error| error.to_string())?;
        let taken = usize::try_from(self.inflate.total_in() - taken_before).unwrap_or_default();
        let given = usize::try_from(self.inflate.total_out() - given_before).unwrap_or_default();
        Ok(Inflated {
            taken,
            content: Bytes::copy_from_slice(&self.buffer[..given]),
            is_complete: status == Status::StreamEnd,
        })
    }
}
