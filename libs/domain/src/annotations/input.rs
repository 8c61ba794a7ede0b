//! What is written in each format, and to how many decimals.

use crate::DetectedObject;

/// The objects of one picture, to be written in an annotation format.
#[derive(Debug, Clone, Copy)]
pub struct Annotations<'a> {
    /// The file name of the picture.
    pub picture_name: &'a str,
    /// Its width in pixels, after its EXIF orientation.
    pub width: u32,
    /// Its height in pixels, after its EXIF orientation.
    pub height: u32,
    /// The objects, in the order to write them in.
    pub objects: &'a [DetectedObject],
}

/// `value` to five decimals, as the original application wrote its numbers.
#[must_use]
pub fn five_decimals(value: f32) -> f64 {
    (f64::from(value) * 1e5).round() / 1e5
}

/// As [`five_decimals`], for a number that was calculated from such numbers.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}
