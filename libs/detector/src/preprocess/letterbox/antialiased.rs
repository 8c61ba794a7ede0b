//! Pillow's bilinear resize of 8-bit pictures (`Image.resize` with `BILINEAR`), in its own fixed-point arithmetic.
//!
//! A scaled pixel is the mean of all pixels that lie under it, weighted by a triangle that is as wide as two scaled pixels.
//! Weights are multiples of 2⁻²²; rows are scaled and rounded to bytes first, then columns. (Pillow 13 begins with the
//! columns where that is less work, and rounds a value otherwise here and there.)
//!
//! A weight does not fit into the 16 bits that vectors multiply, so it is split: `w = high × 2¹¹ + low`, both sums are
//! exact.

use wide::bytemuck::cast;
use wide::{f32x4, i16x8, i32x4, u8x16, u32x4};

use super::planes::{GROUP, PIXEL, Source, Window, u32_at, write_planes};
use crate::decode::Extent;

/// Weights are multiples of 2 to the power of minus this (`PRECISION_BITS`).
const PRECISION: i32 = 22;
/// The bits of the lower half of a weight.
const LOW_BITS: i32 = 11;

/// Fills `window` with `source` scaled to its size; `value` converts 8-bit results to the stored range.
pub(super) fn resize(
    source: &Source<'_>,
    window: &mut Window<'_>,
    value: impl Fn(usize, f32x4) -> f32x4 + Copy,
) {
    let (width, height) = (source.pixels.width() as usize, source.pixels.height() as usize);
    let columns = weights(width, source.columns, window.width);
    let mut rows = weights(height, source.rows, window.height);
    // Of a tile, only the rows that lie under it are scaled.
    let first = rows.first().map_or(0, |row| row.first);
    let end = rows.last().map_or(0, |row| row.first + 2 * row.pairs.len()).min(height);
    for row in &mut rows {
        row.first -= first;
    }
    let groups = window.width.div_ceil(GROUP);
    let mut scaled = vec![u32x4::ZERO; groups * (end - first)];
    let mut padded = Vec::new();
    let source_rows = source.pixels.rgb().chunks_exact(width * PIXEL).skip(first);
    for (row, out) in source_rows.zip(scaled.chunks_exact_mut(groups)) {
        padded.clear();
        padded.extend_from_slice(row);
        // A pixel is read as four bytes, and with an odd number of weights there is one pixel more.
        padded.extend([0; 2 * PIXEL]);
        scale_row(&padded, &columns, out);
    }
    let mut pixels = vec![u32x4::ZERO; groups];
    for (y, pixel) in rows.iter().enumerate() {
        scale_columns(&scaled, groups, pixel, &mut pixels);
        write_planes(&pixels, window.rows(y), value);
    }
}

/// The pixels under a scaled one, and their weights.
struct Weighted {
    /// The first of these pixels.
    first: usize,
    pairs: Vec<Pair>,
}

/// The weights of two neighbouring pixels, alternating, in two halves.
#[derive(Clone, Copy)]
struct Pair {
    high: i16x8,
    low: i16x8,
}

impl Pair {
    fn new(first: i32, second: i32) -> Self {
        let alternating = |[first, second]: [i32; 2]| {
            let both = u32::from(first as u16) | u32::from(second as u16) << 16;
            cast(u32x4::splat(both))
        };
        let low = |weight: i32| weight & ((1 << LOW_BITS) - 1);
        Self {
            high: alternating([first >> LOW_BITS, second >> LOW_BITS]),
            low: alternating([low(first), low(second)]),
        }
    }
}

/// The sums of a scaled pixel's channels.
#[derive(Clone, Copy, Default)]
struct Sums {
    high: i32x4,
    low: i32x4,
}

impl Sums {
    /// Adds a byte of the first pixel, one of the second, and so on, times their weights.
    fn add(&mut self, neighbours: i16x8, pair: Pair) {
        self.high += neighbours.dot(pair.high);
        self.low += neighbours.dot(pair.low);
    }

    /// The rounded sums; at most 256.
    fn rounded(self) -> i32x4 {
        ((self.high << LOW_BITS) + self.low + i32x4::splat(1 << (PRECISION - 1))) >> PRECISION
    }
}

/// The weights of each of `scaled` pixels along a side of `pixels` pixels, of which the picture covers `source`
/// (Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`).
fn weights(pixels: usize, source: Extent, scaled: usize) -> Vec<Weighted> {
    let scale = source.len / scaled as f64;
    // Scaled up, a pixel is the mean of the two nearest.
    let support = scale.max(1.0);
    // Multiplied by, as in Pillow: a division could differ in the last bit.
    let inverse = 1.0 / support;
    let weighted = |at: usize| {
        let centre = source.start + (at as f64 + 0.5) * scale;
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(pixels);
        let weight =
            |pixel: usize| (1.0 - ((pixel as f64 - centre + 0.5) * inverse).abs()).max(0.0);
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let total: f64 = weights.iter().sum();
        let fixed = |weight: &f64| (0.5 + weight / total * f64::from(1 << PRECISION)) as i32;
        let fixed: Vec<i32> = weights.iter().map(fixed).collect();
        let pairs =
            fixed.chunks(2).map(|pair| Pair::new(pair[0], pair.get(1).copied().unwrap_or(0)));
        Weighted { first, pairs: pairs.collect() }
    };
    (0..scaled).map(weighted).collect()
}

/// The pass over one row of RGB pixels, to pixels of four bytes.
fn scale_row(row: &[u8], columns: &[Weighted], out: &mut [u32x4]) {
    for (group, out) in columns.chunks(GROUP).zip(out) {
        let mut sums = [i32x4::ZERO; GROUP];
        for (column, sum) in group.iter().zip(&mut sums) {
            let mut channels = Sums::default();
            let mut offset = column.first * PIXEL;
            for &pair in &column.pairs {
                let bytes = &row[offset..offset + PIXEL + 4];
                let first: u8x16 = cast(u32x4::new([u32_at(bytes, 0), 0, 0, 0]));
                let second: u8x16 = cast(u32x4::new([u32_at(bytes, PIXEL), 0, 0, 0]));
                channels.add(i16x8::from_u8x16_low(u8x16::unpack_low(first, second)), pair);
                offset += 2 * PIXEL;
            }
            *sum = channels.rounded();
        }
        *out = bytes_of(sums);
    }
}

/// The pass over the columns under one scaled row.
fn scale_columns(scaled: &[u32x4], groups: usize, row: &Weighted, out: &mut [u32x4]) {
    for (place, out) in out.iter_mut().enumerate() {
        let mut sums = [Sums::default(); GROUP];
        for (step, &pair) in row.pairs.iter().enumerate() {
            let upper = (row.first + 2 * step) * groups + place;
            let first: u8x16 = cast(scaled[upper]);
            // Without a second row its weight is 0.
            let second: u8x16 = cast(scaled.get(upper + groups).copied().unwrap_or(u32x4::ZERO));
            let halves = [u8x16::unpack_low(first, second), u8x16::unpack_high(first, second)];
            for (sums, half) in sums.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
                sums[0].add(i16x8::from_u8x16_low(half), pair);
                sums[1].add(i16x8::from_u8x16_high(half), pair);
            }
        }
        *out = bytes_of(sums.map(Sums::rounded));
    }
}

/// Four pixels as bytes, from sums that are not negative.
fn bytes_of(sums: [i32x4; GROUP]) -> u32x4 {
    let [first, second, third, fourth] = sums;
    let halves: [i16x8; 2] =
        [[first, second], [third, fourth]].map(|pixels| i16x8::from_i32x8_saturate(cast(pixels)));
    cast(u8x16::narrow_i16x8(halves[0], halves[1]))
}
