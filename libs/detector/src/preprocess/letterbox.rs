//! From a picture of any size to a model's input tensor: scaled to fit and padded, or stretched, in planes of floats.
//!
//! The geometry is that of Ultralytics' `LetterBox` (centred) or of YOLOX's `preproc` (top left); the arithmetic of
//! the scaling is that of the family's package, for most OpenCV's, bit by bit. Detections depend on it: for YOLOv8, a plain
//! float bilinear resize moves boxes by up to a quarter of a pixel, and an antialiased one loses objects near the threshold.

mod antialiased;
mod bilinear_float;
mod geometry;
mod planes;
mod resize;
mod source_rows;
mod spec;

use domain::Tile;
use wide::f32x4;

use crate::decode::{Extent, Picture, ReducedPicture};
use crate::tensor::InputTensor;
use geometry::Plan;
use planes::{Source, Window};
pub use spec::{
    ChannelOrder, Letterbox, LetterboxSpec, Placement, Preprocessing, Resampling, TargetSize,
    ValueRange,
};

/// The grey of the padding, as in the models' training.
const PADDING: f32 = 114.0;

/// Scales `picture` to fit the target, pads it with grey 114, and writes it to `tensor` as three planes of floats.
///
/// Every value of `tensor` is overwritten; its memory never shrinks.
pub fn letterbox(picture: &Picture, spec: &LetterboxSpec, tensor: &mut InputTensor) -> Letterbox {
    let source = Source {
        pixels: picture,
        columns: Extent::whole(picture.width()),
        rows: Extent::whole(picture.height()),
    };
    fit(&source, &Plan::new(picture.width(), picture.height(), spec), spec, tensor)
}

/// [`letterbox`] for a picture that may have been decoded smaller than it is.
///
/// Size, padding and mapping are those of the picture at full size.
pub fn letterbox_reduced(
    picture: &ReducedPicture,
    spec: &LetterboxSpec,
    tensor: &mut InputTensor,
) -> Letterbox {
    let source =
        Source { pixels: picture.pixels(), columns: picture.columns(), rows: picture.rows() };
    fit(&source, &Plan::new(picture.width(), picture.height(), spec), spec, tensor)
}

/// [`letterbox_reduced`] for a part of the picture, as if that were all of it, except that pixels at its edges are scaled
/// with those beyond, unless they are scaled as floats.
pub(crate) fn letterbox_tile(
    picture: &ReducedPicture,
    tile: &Tile,
    spec: &LetterboxSpec,
    tensor: &mut InputTensor,
) -> Letterbox {
    let (columns, rows) = picture.part(tile);
    let source = Source { pixels: picture.pixels(), columns, rows };
    fit(&source, &Plan::new(tile.width, tile.height, spec), spec, tensor)
}

fn fit(
    source: &Source<'_>,
    plan: &Plan,
    spec: &LetterboxSpec,
    tensor: &mut InputTensor,
) -> Letterbox {
    tensor.height = plan.tensor_height;
    tensor.width = plan.tensor_width;
    tensor.data.resize(3 * plan.tensor_height * plan.tensor_width, 0.0);
    // One instance of the loops for each range, without a branch inside.
    match spec.preprocessing.range {
        ValueRange::Unit => fill(source, plan, spec, tensor, |_, bytes| unit_values(bytes)),
        ValueRange::Byte => fill(source, plan, spec, tensor, |_, bytes| bytes),
        ValueRange::Standardised { mean, deviation } => {
            let factors = deviation.map(|deviation| 1.0 / deviation);
            fill(source, plan, spec, tensor, |channel: usize, bytes| {
                (unit_values(bytes) - f32x4::splat(mean[channel])) * f32x4::splat(factors[channel])
            });
        }
    }
    plan.letterbox
}

/// Fills `tensor`; `value` converts bytes of red (0), green (1) or blue (2).
fn fill(
    source: &Source<'_>,
    plan: &Plan,
    spec: &LetterboxSpec,
    tensor: &mut InputTensor,
    value: impl Fn(usize, f32x4) -> f32x4 + Copy,
) {
    let plane_len = plan.tensor_height * plan.tensor_width;
    let (first, rest) = tensor.data.split_at_mut(plane_len);
    let (second, third) = rest.split_at_mut(plane_len);
    let mut planes = match spec.preprocessing.channels {
        ChannelOrder::Rgb => [first, second, third],
        ChannelOrder::Bgr => [third, second, first],
    };
    let is_empty = source.pixels.rgb().is_empty();
    for (channel, plane) in planes.iter_mut().enumerate() {
        let [padding, ..] = value(channel, f32x4::splat(PADDING)).to_array();
        if is_empty { plane.fill(padding) } else { pad(plane, plan, padding) }
    }
    if is_empty {
        return;
    }
    let mut window = Window {
        planes,
        stride: plan.tensor_width,
        left: plan.left,
        top: plan.top,
        width: plan.scaled_width,
        height: plan.scaled_height,
    };
    match spec.preprocessing.resampling {
        Resampling::Bilinear => resize::resize(source, &mut window, value),
        Resampling::Antialiased => antialiased::resize(source, &mut window, value),
        Resampling::BilinearFloat => bilinear_float::resize(source, &mut window, value),
    }
}

/// Fills the part of `plane` outside the scaled picture with `grey`.
fn pad(plane: &mut [f32], plan: &Plan, grey: f32) {
    let right = plan.left + plan.scaled_width;
    let bottom = plan.top + plan.scaled_height;
    for (y, row) in plane.chunks_exact_mut(plan.tensor_width).enumerate() {
        if (plan.top..bottom).contains(&y) {
            row[..plan.left].fill(grey);
            row[right..].fill(grey);
        } else {
            row.fill(grey);
        }
    }
}

/// `bytes / 255`, exact to the last bit, by two products and a sum.
///
/// 1/255 is 2⁻⁸ + 2⁻¹⁶ + 2⁻²⁴ + …: a byte times the first two terms is exact in an `f32`, so that only the
/// sum rounds. A division takes several times as long as both products.
fn unit_values(bytes: f32x4) -> f32x4 {
    const LEADING: f32 = 1.0 / 256.0 + 1.0 / 65536.0;
    const REST: f32 = (1.0 / 255.0 - LEADING as f64) as f32;
    bytes * f32x4::splat(LEADING) + bytes * f32x4::splat(REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_values_are_the_division() {
        for byte in 0..=u8::MAX {
            let byte = f32::from(byte);
            for got in unit_values(f32x4::splat(byte)).to_array() {
                assert_eq!(got.to_bits(), (byte / 255.0).to_bits(), "{byte}");
            }
        }
    }
}
