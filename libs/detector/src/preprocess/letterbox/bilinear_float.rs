//! PyTorch's bilinear resize of floats (`interpolate` with `bilinear`, `align_corners=False`, no antialiasing).
//!
//! A scaled pixel is interpolated between four pixels of the picture, however many lie between, and never rounded. Bytes
//! are interpolated before they are converted to the range of the model: both are linear, so that only the last bits
//! depend on the order. Places are computed as in PyTorch, in an `f32`: in a row of 3,840 pixels, another rounding would move
//! them by up to 1/8192 of a pixel.
//!
//! All loops use vectors of 128 bits, a pixel in each, as [`super::resize`] does with integers.

use wide::bytemuck::cast;
use wide::{f32x4, i32x4, u8x16, u32x4};

use super::planes::{GROUP, PIXEL, Source, Window, u32_at, write_channels};
use super::source_rows::{PAIR_LEN, SourceRows};
use crate::decode::Extent;

/// Fills `window` with `source` scaled to its size; `value` converts results from 0 to 255 to the stored range.
pub(super) fn resize(
    source: &Source<'_>,
    window: &mut Window<'_>,
    value: impl Fn(usize, f32x4) -> f32x4 + Copy,
) {
    let height = source.pixels.height() as usize;
    let rows = SourceRows::new(source.pixels);
    let columns = column_taps(source.pixels.width() as usize, source.columns, window.width);
    let mut upper = ResampledRow::new(columns.len());
    let mut lower = ResampledRow::new(columns.len());
    for (y, tap) in taps(height, source.rows, window.height).enumerate() {
        // A picture of one row has no second one.
        let (upper_y, lower_y) = (tap.first, (tap.first + 1).min(height - 1));
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
        let fraction = f32x4::splat(tap.fraction);
        let groups = upper.pixels.as_chunks::<GROUP>().0.iter();
        let groups = groups.zip(lower.pixels.as_chunks::<GROUP>().0).map(|(upper, lower)| {
            let blend = |place: usize| interpolate(upper[place], lower[place], fraction);
            let [red, green, blue, _] = f32x4::transpose([blend(0), blend(1), blend(2), blend(3)]);
            [red, green, blue]
        });
        write_channels(groups, window.rows(y), value);
    }
}

/// The value at `fraction` of the way from `first` to `second`.
fn interpolate(first: f32x4, second: f32x4, fraction: f32x4) -> f32x4 {
    first + (second - first) * fraction
}

/// A place between two neighbouring pixels, or at one of the two.
#[derive(Debug, Clone, Copy)]
struct Tap {
    /// The first of the two.
    first: usize,
    /// How far it is from the first to the second, from 0 to 1.
    fraction: f32,
}

/// The place of each of `scaled` pixels along a side of `pixels` pixels, of which the picture covers `source`
/// (`area_pixel_compute_source_index`). At the edges of that, the outermost pixel counts alone.
fn taps(pixels: usize, source: Extent, scaled: usize) -> impl Iterator<Item = Tap> {
    let scale = source.len as f32 / scaled as f32;
    let last_pair = pixels.saturating_sub(2);
    (0..scaled).map(move |at| {
        let place = (at as f32 + 0.5) * scale - 0.5;
        let place = source.start + f64::from(place).min(source.len - 1.0).max(0.0);
        let first = (place as usize).min(last_pair);
        Tap { first, fraction: (place - first as f64).clamp(0.0, 1.0) as f32 }
    })
}

/// The horizontal taps; the last one is repeated up to a multiple of [`GROUP`].
fn column_taps(pixels: usize, source: Extent, scaled: usize) -> Vec<Tap> {
    let mut columns: Vec<_> = taps(pixels, source, scaled).collect();
    columns.resize(scaled.next_multiple_of(GROUP), columns[scaled - 1]);
    columns
}

/// A source row after the horizontal pass: red, green and blue of each pixel from 0 to 255, and a fourth lane that only
/// fills the vector.
struct ResampledRow {
    /// The source row that it was made from; none at first.
    source_y: Option<usize>,
    pixels: Vec<f32x4>,
}

impl ResampledRow {
    fn new(pixels: usize) -> Self {
        Self { source_y: None, pixels: vec![f32x4::ZERO; pixels] }
    }

    /// The horizontal pass over `row`.
    fn resample(&mut self, row: &[u8], columns: &[Tap]) {
        for (column, out) in columns.iter().zip(&mut self.pixels) {
            let offset = column.first * PIXEL;
            let bytes = &row[offset..offset + PAIR_LEN];
            let [first, second] = [0, PIXEL].map(|at| floats(u32_at(bytes, at)));
            *out = interpolate(first, second, f32x4::splat(column.fraction));
        }
    }
}

/// Four bytes as floats.
fn floats(bytes: u32) -> f32x4 {
    let bytes: u8x16 = cast(u32x4::new([bytes, 0, 0, 0]));
    let shorts = u8x16::unpack_low(bytes, u8x16::ZERO);
    let lanes: i32x4 = cast(u8x16::unpack_low(shorts, u8x16::ZERO));
    f32x4::from_i32x4(lanes)
}
