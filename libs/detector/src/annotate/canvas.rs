//! Drawing on a picture at any coordinates; what is outside is clipped.

use crate::decode::Picture;

/// Red, green, blue.
pub(super) type Colour = [u8; 3];

/// Pixels from `left` up to but not including `right`, and likewise down.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rectangle {
    pub(super) left: i64,
    pub(super) top: i64,
    pub(super) right: i64,
    pub(super) bottom: i64,
}

pub(super) struct Canvas<'a> {
    width: usize,
    height: usize,
    pixels: &'a mut [Colour],
}

impl<'a> Canvas<'a> {
    pub(super) fn new(picture: &'a mut Picture) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        Self { width, height, pixels: picture.rgb_mut().as_chunks_mut().0 }
    }

    pub(super) fn width(&self) -> i64 {
        self.width as i64
    }

    pub(super) fn height(&self) -> i64 {
        self.height as i64
    }

    pub(super) fn fill(&mut self, rectangle: Rectangle, colour: Colour) {
        let inside = |at: i64, len: usize| at.clamp(0, len as i64) as usize;
        let left = inside(rectangle.left, self.width);
        let right = inside(rectangle.right, self.width).max(left);
        for y in inside(rectangle.top, self.height)..inside(rectangle.bottom, self.height) {
            self.pixels[y * self.width..][left..right].fill(colour);
        }
    }

    /// Blends `colour` over one pixel with the opacity `coverage`, from 0 to 1.
    pub(super) fn blend(&mut self, (x, y): (i64, i64), colour: Colour, coverage: f32) {
        let inside = (0..self.width()).contains(&x) && (0..self.height()).contains(&y);
        if !inside {
            return;
        }
        let coverage = coverage.clamp(0.0, 1.0);
        let pixel = &mut self.pixels[y as usize * self.width + x as usize];
        for (below, above) in pixel.iter_mut().zip(colour) {
            *below = (f32::from(*below) + (f32::from(above) - f32::from(*below)) * coverage).round()
                as u8;
        }
    }
}
