//! The pixels of a decoded picture.

use image::{DynamicImage, RgbImage, metadata::Orientation};

/// A decoded picture: RGB, 8 bits, row-major, the right way up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Always `3 · width · height` bytes.
    pub(super) rgb: Vec<u8>,
}

impl Picture {
    /// A picture from `rgb`, three bytes for each pixel, row by row; `None` if the length of `rgb` differs.
    #[must_use]
    pub fn from_rgb(width: u32, height: u32, rgb: Vec<u8>) -> Option<Self> {
        let len = rgb_len(width, height)?;
        (rgb.len() == len).then_some(Self { width, height, rgb })
    }

    /// Width in pixels; 0 for [`Picture::default`] only.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels; 0 for [`Picture::default`] only.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels, `[height, width, 3]`.
    #[must_use]
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The pixels, `[height, width, 3]`, for drawing.
    pub fn rgb_mut(&mut self) -> &mut [u8] {
        &mut self.rgb
    }

    /// Turns the picture upright.
    pub(super) fn orient(&mut self, orientation: Orientation) {
        if orientation == Orientation::NoTransforms {
            return;
        }
        let Self { width, height, rgb } = std::mem::take(self);
        if let Some(stored) = RgbImage::from_raw(width, height, rgb) {
            let mut turned = DynamicImage::ImageRgb8(stored);
            turned.apply_orientation(orientation);
            let turned = turned.into_rgb8();
            (self.width, self.height) = turned.dimensions();
            self.rgb = turned.into_raw();
        }
    }
}

/// The bytes of an RGB picture, or `None` on overflow.
pub(super) fn rgb_len(width: u32, height: u32) -> Option<usize> {
    (width as usize).checked_mul(height as usize)?.checked_mul(3)
}
