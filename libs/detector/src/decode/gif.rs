//! GIF: the first frame, placed on the logical screen.

use domain::picture::PictureHeader;
use domain::picture::gif::{GifFrame, first_frame};

use super::{
    error::{DecodeError, pixels_error},
    image_crate,
    picture::Picture,
};

const TRAILER: u8 = 0x3B;

/// Decodes to `picture`, and fills the screen outside the frame with the background colour.
pub(super) fn decode_into(
    bytes: &[u8],
    header: &PictureHeader,
    picture: &mut Picture,
) -> Result<(), DecodeError> {
    let frame = first_frame(bytes).ok_or_else(|| pixels_error(header, "it has no frame"))?;
    image_crate::decode_or_repaired(bytes, header, picture, |bytes| only_frame(bytes, &frame))?;
    fill_outside(&frame, picture);
    Ok(())
}

/// The file without bytes between its blocks, and without extensions but the one that pixels depend on.
fn only_frame(bytes: &[u8], frame: &GifFrame) -> Option<Vec<u8>> {
    let mut kept = bytes.get(frame.screen.clone())?.to_vec();
    if let Some(control) = frame.graphic_control.clone() {
        kept.extend(bytes.get(control)?);
    }
    kept.extend(bytes.get(frame.block.clone())?);
    kept.push(TRAILER);
    Some(kept)
}

fn fill_outside(frame: &GifFrame, picture: &mut Picture) {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let [left, top, columns, rows] =
        [frame.left, frame.top, frame.width, frame.height].map(|number| number as usize);
    if (left, top) == (0, 0) && columns >= width && rows >= height {
        return;
    }
    let (left, right) = (left.min(width), (left + columns).min(width));
    let pixels = picture.rgb.as_chunks_mut::<3>().0;
    for (row, pixels) in pixels.chunks_exact_mut(width.max(1)).enumerate() {
        if (top..top + rows).contains(&row) {
            pixels[..left].fill(frame.background);
            pixels[right..].fill(frame.background);
        } else {
            pixels.fill(frame.background);
        }
    }
}
