//! OpenCV's bilinear resize of 8-bit pictures (`cv::resize`, `INTER_LINEAR`), in its own fixed-point arithmetic.
//!
//! Weights are multiples of 1/2048. A row is resampled horizontally to 19-bit sums; two such rows are weighted and
//! rounded once. Before, 4 bits and then 16 bits are truncated, not rounded, so that the last bit differs from a
//! plain bilinear resize. A picture that halves exactly on both axes is averaged over 2 × 2 pixels instead.
//!
//! All loops use vectors of 128 bits (crate `wide`), which every 64-bit x86 and ARM processor has.

use wide::bytemuck::{cast, cast_slice_mut};
use wide::{f32x4, i16x8, i32x4, u8x16, u32x4};

use super::planes::{GROUP, PIXEL, Source, Window, u32_at, write_planes};
use super::source_rows::{PAIR_LEN, SourceRows};
use crate::decode::{Extent, Picture};

/// Weights are multiples of 1/2048 (`INTER_RESIZE_COEF_SCALE`).
const WEIGHT_ONE: f32 = 2048.0;
/// Fills `window` with `source` scaled to its size; `value` converts 8-bit results to the stored range.
pub(super) fn resize(
    source: &Source<'_>,
    window: &mut Window<'_>,
    value: impl Fn(usize, f32x4) -> f32x4 + Copy,
) {
    let is_twice = |pixels: u32, extent: Extent, side: usize| {
        pixels as usize == 2 * side && extent == Extent::whole(pixels)
    };
    let (width, height) = (source.pixels.width(), source.pixels.height());
    if is_twice(width, source.columns, window.width) && is_twice(height, source.rows, window.height)
    {
        halve(source.pixels, window, value);
    } else {
        interpolate(source, window, value);
    }
}

fn halve(picture: &Picture, window: &mut Window<'_>, value: impl Fn(usize, f32x4) -> f32x4 + Copy) {
    let row_len = picture.width() as usize * PIXEL;
    let mut pixels = vec![u32x4::ZERO; window.width.div_ceil(GROUP)];
    for (y, two_rows) in picture.rgb().chunks_exact(2 * row_len).enumerate() {
        let (upper, lower) = two_rows.split_at(row_len);
        let pairs = upper.as_chunks::<6>().0.iter().zip(lower.as_chunks::<6>().0);
        let averaged = cast_slice_mut::<u32x4, [u8; 4]>(&mut pixels);
        for ((upper, lower), out) in pairs.zip(averaged) {
            let mean = |c: usize| {
                let sum = [upper[c], upper[c + PIXEL], lower[c], lower[c + PIXEL]].map(u16::from);
                ((sum.iter().sum::<u16>() + 2) >> 2) as u8
            };
            *out = [mean(0), mean(1), mean(2), 0];
        }
        write_planes(&pixels, window.rows(y), value);
    }
}

/// Two neighbouring source pixels and their weights in 2048ths.
#[derive(Debug, Clone, Copy)]
struct Tap {
    /// The first of the two, by index of its pixel, or -1 above a picture's first row.
    first: isize,
    weights: [i16; 2],
}

/// The position of each of `scaled` pixels in the extent `source`, by the half-pixel rule.
///
/// Place and fraction pass through an `f32`, and weights are rounded to even, as OpenCV does both.
fn taps(source: Extent, scaled: usize) -> impl Iterator<Item = Tap> {
    // OpenCV computes the inverse first; dividing directly could differ in the last bit.
    let scale = 1.0 / (scaled as f64 / source.len);
    (0..scaled).map(move |at| {
        let place = ((at as f64 + 0.5) * scale - 0.5 + source.start) as f32;
        let first = place.floor();
        let fraction = place - first;
        let weight = |share: f32| (share * WEIGHT_ONE).round_ties_even() as i16;
        Tap { first: first as isize, weights: [weight(1.0 - fraction), weight(fraction)] }
    })
}

/// A horizontal [`Tap`]: the two pixels of a source row from byte `offset` on.
#[derive(Debug, Clone, Copy)]
struct ColumnTap {
    offset: u32,
    /// Both weights, the first in the lower half.
    weights: u32,
}

impl ColumnTap {
    fn new(first: usize, [low, high]: [i16; 2]) -> Self {
        let weights = u32::from(low as u16) | u32::from(high as u16) << 16;
        Self { offset: (first * PIXEL) as u32, weights }
    }

    /// The two weights, alternating.
    fn weights(self) -> i16x8 {
        cast(u32x4::splat(self.weights))
    }
}

/// The horizontal taps, none of which reads beyond the row of `pixels`: at the edges the outermost pixel counts
/// alone. The last one is repeated up to a multiple of [`GROUP`].
fn column_taps(pixels: usize, source: Extent, scaled: usize) -> Vec<ColumnTap> {
    const ONE: i16 = WEIGHT_ONE as i16;
    // A row of one pixel is read as several, see `SourceRows`.
    let last_pair = pixels.saturating_sub(2);
    let mut columns: Vec<_> = taps(source, scaled)
        .map(|Tap { first, weights }| match usize::try_from(first) {
            Err(_) => ColumnTap::new(0, [ONE, 0]),
            Ok(first) if first > last_pair => ColumnTap::new(last_pair, [0, ONE]),
            Ok(first) => ColumnTap::new(first, weights),
        })
        .collect();
    let padded = scaled.next_multiple_of(GROUP);
    columns.resize(padded, columns[scaled - 1]);
    columns
}

/// A source row after the horizontal pass: for each pixel the upper 15 bits of three sums, and a fourth lane that
/// only fills the vector. Two pixels stand in each vector.
struct ResampledRow {
    /// The source row that it was made from; none at first.
    source_y: Option<usize>,
    lanes: Vec<i16x8>,
}

impl ResampledRow {
    fn new(pixels: usize) -> Self {
        Self { source_y: None, lanes: vec![i16x8::ZERO; pixels / 2] }
    }

    /// The horizontal pass over `row`.
    fn resample(&mut self, row: &[u8], columns: &[ColumnTap]) {
        for (pair, out) in columns.as_chunks::<2>().0.iter().zip(&mut self.lanes) {
            let [left, right] = pair.map(|column| {
                let offset = column.offset as usize;
                let bytes = &row[offset..offset + PAIR_LEN];
                [u32_at(bytes, 0), u32_at(bytes, PIXEL)]
            });
            let first: u8x16 = cast(u32x4::new([left[0], right[0], 0, 0]));
            let second: u8x16 = cast(u32x4::new([left[1], right[1], 0, 0]));
            // Red of the first pixel, red of the second, green, green, …: what `dot` wants to add.
            let neighbours = u8x16::unpack_low(first, second);
            let left = i16x8::from_u8x16_low(neighbours).dot(pair[0].weights());
            let right = i16x8::from_u8x16_high(neighbours).dot(pair[1].weights());
            // 255 × 2048 >> 4 is 32640: 16 bits do for the vertical pass.
            let sums: [i32x4; 2] = [left >> 4, right >> 4];
            *out = i16x8::from_i32x8_saturate(cast(sums));
        }
    }
}

fn interpolate(
    source: &Source<'_>,
    window: &mut Window<'_>,
    value: impl Fn(usize, f32x4) -> f32x4 + Copy,
) {
    let last_row = source.pixels.height() as isize - 1;
    let rows = SourceRows::new(source.pixels);
    let columns = column_taps(source.pixels.width() as usize, source.columns, window.width);
    let mut upper = ResampledRow::new(columns.len());
    let mut lower = ResampledRow::new(columns.len());
    let mut pixels = vec![u32x4::ZERO; columns.len() / GROUP];
    for (y, tap) in taps(source.rows, window.height).enumerate() {
        // Above the first row and below the last one, the edge row takes both weights.
        let clamp = |row: isize| row.clamp(0, last_row) as usize;
        let (upper_y, lower_y) = (clamp(tap.first), clamp(tap.first + 1));
        // Scaling down by less than two, or up, the lower row is the next step's upper one.
        if lower.source_y == Some(upper_y) {
            std::mem::swap(&mut upper, &mut lower);
        }
        for (row, source_y) in [(&mut upper, upper_y), (&mut lower, lower_y)] {
            if row.source_y != Some(source_y) {
                row.resample(rows.row(source_y), &columns);
                row.source_y = Some(source_y);
            }
        }
        blend_rows(&upper, &lower, tap.weights, &mut pixels);
        write_planes(&pixels, window.rows(y), value);
    }
}

/// The vertical pass: `(((w0·u) >> 16) + ((w1·l) >> 16) + 2) >> 2`.
fn blend_rows(upper: &ResampledRow, lower: &ResampledRow, weights: [i16; 2], out: &mut [u32x4]) {
    let [first, second] = weights.map(i16x8::splat);
    let blend = |upper: i16x8, lower: i16x8| {
        (upper.mul_keep_high(first) + lower.mul_keep_high(second) + i16x8::splat(2)) >> 2
    };
    let rows = upper.lanes.as_chunks::<2>().0.iter().zip(lower.lanes.as_chunks::<2>().0);
    for (out, (upper, lower)) in out.iter_mut().zip(rows) {
        let halves = [blend(upper[0], lower[0]), blend(upper[1], lower[1])];
        *out = cast(u8x16::narrow_i16x8(halves[0], halves[1]));
    }
}
