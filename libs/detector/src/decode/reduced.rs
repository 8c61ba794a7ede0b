//! Pictures that were decoded at a reduced size.

use domain::Tile;
use image::metadata::Orientation;

use super::picture::Picture;

/// A decoded picture that may have fewer pixels than its file, the right way up.
///
/// [`ReducedPicture::width`] and [`ReducedPicture::height`] are those of the file, so coordinates are in the file's
/// pixels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReducedPicture {
    pub(super) pixels: Picture,
    width: u32,
    height: u32,
    columns: Extent,
    rows: Extent,
}

impl ReducedPicture {
    /// Width of the picture in the file's pixels, after its EXIF orientation.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height of the picture in the file's pixels, after its EXIF orientation.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels that were decoded: at 1/2, 1/4 or 1/8 of the picture's sides, rounded up, or all of them.
    #[must_use]
    pub fn pixels(&self) -> &Picture {
        &self.pixels
    }

    /// What the picture covers of the decoded columns.
    pub(crate) fn columns(&self) -> Extent {
        self.columns
    }

    /// What the picture covers of the decoded rows.
    pub(crate) fn rows(&self) -> Extent {
        self.rows
    }

    /// What `tile` covers of the decoded columns and rows.
    pub(crate) fn part(&self, tile: &Tile) -> (Extent, Extent) {
        let columns = self.columns.part(tile.x, tile.width, self.width);
        (columns, self.rows.part(tile.y, tile.height, self.height))
    }

    /// Turns the pixels, decoded from a file of `width` × `height` at `scale`, upright.
    pub(super) fn orient(
        &mut self,
        (width, height): (u32, u32),
        scale: DctScale,
        orientation: Orientation,
    ) {
        let (right_to_left, bottom_to_top) = reversed(orientation);
        self.pixels.orient(orientation);
        (self.width, self.height) = upright((width, height), orientation);
        self.columns = Extent::of(self.width, scale, right_to_left);
        self.rows = Extent::of(self.height, scale, bottom_to_top);
    }
}

/// The part of one side of the decoded pixels that the picture covers, in decoded pixels.
///
/// A side of 1,001 pixels decoded at 1/8 has 126 pixels, of which the picture covers 125.125: the last one is the mean
/// of one pixel of the picture and seven that the encoder added to fill its block.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Extent {
    /// Where the picture begins; above 0 where the incomplete block is at the beginning.
    pub(crate) start: f64,
    /// The length that it covers.
    pub(crate) len: f64,
}

impl Extent {
    /// All of `side` decoded pixels.
    pub(crate) fn whole(side: u32) -> Self {
        Self { start: 0.0, len: f64::from(side) }
    }

    /// A part of the side, in pixels of its file, which has `all`.
    fn part(self, start: u32, len: u32, all: u32) -> Self {
        let scale = self.len / f64::from(all.max(1));
        Self { start: self.start + f64::from(start) * scale, len: f64::from(len) * scale }
    }

    /// Of a side of the file decoded at `scale`. The incomplete block is at the end of the stored side, which is the
    /// beginning where the orientation `reversed` it.
    fn of(side: u32, scale: DctScale, reversed: bool) -> Self {
        let len = f64::from(side) * scale.factor();
        Self { start: if reversed { len.ceil() - len } else { 0.0 }, len }
    }
}

/// The least factor by which a side is decoded larger than needed.
///
/// Models are trained on pictures that were scaled by a bilinear resize, which samples pixels and keeps edges sharp. A
/// block's low frequencies are an average, which is softer: scaled down by less than this factor it costs accuracy. The
/// figures are in `docs/performance.md`.
const SPARE: f64 = 3.0;

/// The scale at which a JPEG is decoded.
///
/// The lowest 4 × 4, 2 × 2 or 1 × 1 frequencies of a block of 8 × 8 pixels give as many pixels, each centred on those
/// that it replaces. libjpeg-turbo has vector code for these sizes, and not for those between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DctScale {
    Eighth,
    Quarter,
    Half,
    Whole,
}

impl DctScale {
    /// The smallest with at least [`SPARE`] times the pixels along each side of a picture scaled by `scale`.
    pub(super) fn for_scale(scale: f64) -> Self {
        let enough = |candidate: &Self| candidate.factor() >= SPARE * scale;
        [Self::Eighth, Self::Quarter, Self::Half].into_iter().find(enough).unwrap_or(Self::Whole)
    }

    fn factor(self) -> f64 {
        match self {
            Self::Eighth => 0.125,
            Self::Quarter => 0.25,
            Self::Half => 0.5,
            Self::Whole => 1.0,
        }
    }
}

/// The size of a picture of `width` × `height`, as stored, once it is upright.
pub(super) fn upright((width, height): (u32, u32), orientation: Orientation) -> (u32, u32) {
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (height, width),
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => (width, height),
    }
}

/// Whether the left edge of the upright picture is a right or bottom edge of the stored one, and the same of its top.
fn reversed(orientation: Orientation) -> (bool, bool) {
    match orientation {
        // The last of these transposes: rows become columns, in the same order.
        Orientation::NoTransforms | Orientation::Rotate90FlipH => (false, false),
        Orientation::FlipHorizontal | Orientation::Rotate90 => (true, false),
        Orientation::FlipVertical | Orientation::Rotate270 => (false, true),
        Orientation::Rotate180 | Orientation::Rotate270FlipH => (true, true),
    }
}
