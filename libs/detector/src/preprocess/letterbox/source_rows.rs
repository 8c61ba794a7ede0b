//! The rows of a picture, of which a horizontal pass reads two neighbouring pixels at once.

use std::borrow::Cow;

use super::planes::PIXEL;
use crate::decode::Picture;

/// Bytes that a horizontal pass reads for two pixels: four from the first's start, four from the second's.
pub(super) const PAIR_LEN: usize = PIXEL + 4;

/// The source's rows, each readable by [`PAIR_LEN`] bytes from any pixel but its last.
pub(super) struct SourceRows<'a> {
    rgb: Cow<'a, [u8]>,
    row_len: usize,
    /// The last row with a spare pixel behind it: all others have the next row there.
    last: Vec<u8>,
}

impl<'a> SourceRows<'a> {
    pub(super) fn new(picture: &'a Picture) -> Self {
        let (rgb, row_len) = match picture.width() {
            // A row of one pixel has no pair: it is read as three equal ones.
            1 => {
                let pixels = picture.rgb().as_chunks::<PIXEL>().0;
                (pixels.iter().flat_map(|pixel| pixel.repeat(3)).collect(), 3 * PIXEL)
            }
            width => (Cow::Borrowed(picture.rgb()), width as usize * PIXEL),
        };
        let mut last = rgb[rgb.len() - row_len..].to_vec();
        last.extend_from_within(row_len - PIXEL..);
        Self { rgb, row_len, last }
    }

    /// Row `y` and some bytes that follow it.
    pub(super) fn row(&self, y: usize) -> &[u8] {
        let start = y * self.row_len;
        if start + self.row_len < self.rgb.len() { &self.rgb[start..] } else { &self.last }
    }
}
