//! The pixels that are scaled, and the planes of floats that they become.

use wide::bytemuck::cast;
use wide::{f32x4, i32x4, u32x4};

use crate::decode::{Extent, Picture};

/// Bytes of an RGB pixel.
pub(super) const PIXEL: usize = 3;
/// Pixels per iteration; rows of vectors are padded to multiples of it.
pub(super) const GROUP: usize = 4;

/// The pixels that are scaled.
pub(super) struct Source<'a> {
    pub(super) pixels: &'a Picture,
    /// The columns that the picture covers.
    pub(super) columns: Extent,
    /// The rows that the picture covers.
    pub(super) rows: Extent,
}

/// The part of the three planes that the scaled picture fills.
pub(super) struct Window<'a> {
    /// The planes that red, green and blue go to.
    pub(super) planes: [&'a mut [f32]; 3],
    /// Values from one row of a plane to the next.
    pub(super) stride: usize,
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Window<'_> {
    /// Row `y` of the scaled picture in the three planes.
    pub(super) fn rows(&mut self, y: usize) -> [&mut [f32]; 3] {
        let start = (self.top + y) * self.stride + self.left;
        let width = self.width;
        self.planes.each_mut().map(|plane| &mut plane[start..start + width])
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Takes the pixels of a row, red in the lowest byte, apart into the three planes.
pub(super) fn write_planes(
    pixels: &[u32x4],
    planes: [&mut [f32]; 3],
    value: impl Fn(usize, f32x4) -> f32x4 + Copy,
) {
    let channels = |pixels: &u32x4| {
        [0, 8, 16].map(|shift| {
            let lanes: i32x4 = cast((*pixels >> shift) & u32x4::splat(0xFF));
            f32x4::from_i32x4(lanes)
        })
    };
    write_channels(pixels.iter().map(channels), planes, value);
}

/// Writes a row, given as red, green and blue of four pixels each, to the three planes.
pub(super) fn write_channels(
    groups: impl Iterator<Item = [f32x4; 3]>,
    planes: [&mut [f32]; 3],
    value: impl Fn(usize, f32x4) -> f32x4 + Copy,
) {
    let [red, green, blue] = planes.map(|plane| plane.chunks_mut(GROUP));
    for ((([r, g, b], red), green), blue) in groups.zip(red).zip(green).zip(blue) {
        for (plane, values) in [(red, value(0, r)), (green, value(1, g)), (blue, value(2, b))] {
            let values = values.to_array();
            match plane.as_mut_array::<GROUP>() {
                Some(plane) => *plane = values,
                // The last pixels of a row that is no multiple of four.
                None => plane.copy_from_slice(&values[..plane.len()]),
            }
        }
    }
}
