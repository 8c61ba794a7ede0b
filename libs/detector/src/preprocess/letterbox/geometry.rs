//! The position and size of the scaled picture in the model's input.

use super::spec::{Letterbox, LetterboxSpec, Placement, TargetSize};

impl LetterboxSpec {
    /// Pixels of the model's input for each pixel of a picture of `width` × `height`, to choose the size at which to
    /// decode it: the larger one of a stretched picture. A [`Letterbox`] has those after sides were rounded to whole pixels.
    #[must_use]
    pub fn scale(&self, width: u32, height: u32) -> f64 {
        let [across, down] = scales(width, height, self.target);
        match self.preprocessing.placement {
            Placement::Stretch => across.max(down),
            Placement::Centre | Placement::TopLeft => down.min(across),
        }
    }
}

/// All sizes and positions of one letterboxing, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Plan {
    pub(super) tensor_width: usize,
    pub(super) tensor_height: usize,
    pub(super) scaled_width: usize,
    pub(super) scaled_height: usize,
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) letterbox: Letterbox,
}

/// One axis of the plan.
struct Axis {
    source: f64,
    tensor: f64,
    scaled: f64,
}

impl Plan {
    pub(super) fn new(width: u32, height: u32, spec: &LetterboxSpec) -> Self {
        let placement = spec.preprocessing.placement;
        let [across, down] = scales(width, height, spec.target);
        let (across, down) = match placement {
            Placement::Stretch => (across, down),
            Placement::Centre | Placement::TopLeft => (down.min(across), down.min(across)),
        };
        let (target_width, target_height) = target_sides(spec.target);
        let (width, height) = (side(width), side(height));
        let axis = |source: f64, target: f64, scale: f64| {
            let scaled = scaled_side(source * scale, placement).min(target);
            Axis { source, tensor: tensor_side(scaled, target, spec.target), scaled }
        };
        let horizontal = axis(width, target_width, across);
        let vertical = axis(height, target_height, down);
        let letterbox = match placement {
            Placement::TopLeft | Placement::Stretch => {
                Letterbox { scale_x: across as f32, scale_y: down as f32, pad_x: 0.0, pad_y: 0.0 }
            }
            Placement::Centre => reference_letterbox(&horizontal, &vertical),
        };
        Self {
            tensor_width: horizontal.tensor as usize,
            tensor_height: vertical.tensor as usize,
            scaled_width: horizontal.scaled as usize,
            scaled_height: vertical.scaled as usize,
            left: start(&horizontal, placement) as usize,
            top: start(&vertical, placement) as usize,
            letterbox,
        }
    }
}

/// Pixels of the model's input for each pixel of a row and of a column of a picture of `width` × `height`, if it filled
/// the input, before sides are rounded.
fn scales(width: u32, height: u32, target: TargetSize) -> [f64; 2] {
    let (target_width, target_height) = target_sides(target);
    [target_width / side(width), target_height / side(height)]
}

/// A side of a picture, at least 1 to keep divisions finite. A picture without pixels becomes all padding.
fn side(pixels: u32) -> f64 {
    f64::from(pixels.max(1))
}

/// The sides that the picture has to fit into.
fn target_sides(target: TargetSize) -> (f64, f64) {
    match target {
        TargetSize::Rect { long_side, multiple_of } => {
            let side = long_side.max(1);
            let side = f64::from(side.checked_next_multiple_of(multiple_of.max(1)).unwrap_or(side));
            (side, side)
        }
        TargetSize::Fixed { width, height } => (f64::from(width.max(1)), f64::from(height.max(1))),
    }
}

/// A side of the scaled picture in whole pixels: Python's `round` (ties to even) or `int`, and never 0.
fn scaled_side(exact: f64, placement: Placement) -> f64 {
    let whole = match placement {
        // Stretched, it is the target's whole side but for rounding errors.
        Placement::Centre | Placement::Stretch => exact.round_ties_even(),
        Placement::TopLeft => exact.trunc(),
    };
    whole.max(1.0)
}

/// A side of the tensor. Ultralytics pads by the missing pixels modulo the stride (`auto=True`).
fn tensor_side(scaled: f64, target: f64, size: TargetSize) -> f64 {
    match size {
        TargetSize::Rect { multiple_of, .. } => {
            scaled + (target - scaled) % f64::from(multiple_of.max(1))
        }
        TargetSize::Fixed { .. } => target,
    }
}

/// The first pixel of the scaled picture; with an odd number of padding pixels, the end has one more.
fn start(axis: &Axis, placement: Placement) -> f64 {
    match placement {
        Placement::Centre => ((axis.tensor - axis.scaled) / 2.0 - 0.1).round_ties_even().max(0.0),
        Placement::TopLeft | Placement::Stretch => 0.0,
    }
}

/// The mapping to the picture as in Ultralytics' `scale_boxes`: from the two shapes, with one gain for both axes, and
/// the padding from the side before it was rounded.
fn reference_letterbox(horizontal: &Axis, vertical: &Axis) -> Letterbox {
    let gain = |axis: &Axis| axis.tensor / axis.source;
    let gain = gain(vertical).min(gain(horizontal));
    let pad =
        |axis: &Axis| ((axis.tensor - axis.source * gain) / 2.0 - 0.1).round_ties_even() as f32;
    // `+ 0.0` turns the -0 that rounding makes of -0.1 into 0.
    let gain = gain as f32;
    Letterbox {
        scale_x: gain,
        scale_y: gain,
        pad_x: pad(horizontal) + 0.0,
        pad_y: pad(vertical) + 0.0,
    }
}
