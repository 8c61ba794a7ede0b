//! The format of a model's input, and the mapping between an input and its picture.

use std::fmt;

use domain::BoundingBox;
use serde::{Deserialize, Serialize};

use crate::input_box::InputBox;

/// How a model's input relates to the picture it was made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    /// Pixels of the model's input for each pixel of a row of the picture.
    pub scale_x: f32,
    /// Pixels of the model's input for each pixel of a column of the picture; another number in a stretched picture.
    pub scale_y: f32,
    /// Where the picture's left edge lies, in pixels of the model's input.
    pub pad_x: f32,
    /// Where the picture's top edge lies, in pixels of the model's input.
    pub pad_y: f32,
}

impl Letterbox {
    /// A box of the model's input in pixels of the picture: less the padding, divided by the scale
    /// (Ultralytics' `scale_boxes`). It may reach beyond the picture's edges; clipping is the caller's.
    #[must_use]
    pub fn to_source(&self, bbox: InputBox) -> BoundingBox {
        BoundingBox {
            x1: (bbox.x1 - self.pad_x) / self.scale_x,
            y1: (bbox.y1 - self.pad_y) / self.scale_y,
            x2: (bbox.x2 - self.pad_x) / self.scale_x,
            y2: (bbox.y2 - self.pad_y) / self.scale_y,
        }
    }
}

/// The size of the model's input. A side given as 0 counts as 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetSize {
    /// The longer side is `long_side`, rounded up to a multiple of `multiple_of`; the shorter one is as long as
    /// the picture's shape requires, padded up to such a multiple. For models with dynamic height and width.
    Rect {
        /// The longer side in pixels.
        long_side: u32,
        /// The largest stride of the model, mostly 32.
        multiple_of: u32,
    },
    /// One size, for models with a fixed input.
    Fixed {
        /// Width of the input in pixels.
        width: u32,
        /// Height of the input in pixels.
        height: u32,
    },
}

/// Where in the model's input the scaled picture lies. It also chooses how its sides become whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// In the middle, sides rounded to the nearest pixel (Ultralytics).
    Centre,
    /// At the top left, sides cut down to whole pixels (YOLOX).
    TopLeft,
    /// Everywhere: both sides are scaled to the input's, whatever the picture's shape (RT-DETR).
    Stretch,
}

/// How the pixels of the scaled picture are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resampling {
    /// From four pixels of the picture, however many lie between: OpenCV's `INTER_LINEAR`.
    Bilinear,
    /// From all pixels of the picture that lie under one of the scaled one: Pillow's `BILINEAR`, and torchvision's with
    /// `antialias`.
    Antialiased,
    /// As [`Resampling::Bilinear`], but in floats, without rounding to bytes: PyTorch's `interpolate` with `bilinear`, and
    /// torchvision's resize of a tensor of floats without `antialias`.
    BilinearFloat,
}

/// The order of the three planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// What bytes become.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ValueRange {
    /// 0 to 1: bytes are divided by 255.
    #[serde(rename = "0-1")]
    Unit,
    /// 0 to 255: bytes as they are.
    #[serde(rename = "0-255")]
    Byte,
    /// Bytes are divided by 255, less the mean, divided by the deviation.
    #[serde(rename = "standardised")]
    Standardised {
        /// Of red, green and blue, from 0 to 1.
        mean: [f32; 3],
        /// Of red, green and blue.
        deviation: [f32; 3],
    },
}

impl ValueRange {
    /// About the largest value.
    pub(crate) fn brightest(self) -> f32 {
        match self {
            Self::Unit | Self::Standardised { .. } => 1.0,
            Self::Byte => 255.0,
        }
    }
}

/// What a model takes pictures as, apart from the size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Where the picture lies in the input.
    pub placement: Placement,
    /// How it is scaled.
    pub resampling: Resampling,
    /// The order of the planes.
    pub channels: ChannelOrder,
    /// The range of the values.
    pub range: ValueRange,
}

impl fmt::Display for Preprocessing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.placement {
            Placement::Centre => "letterbox",
            Placement::TopLeft => "letterbox at the top left",
            Placement::Stretch => "stretched",
        })?;
        f.write_str(match self.resampling {
            Resampling::Bilinear => "",
            Resampling::Antialiased => ", antialiased",
            Resampling::BilinearFloat => ", resized as floats",
        })?;
        f.write_str(match self.channels {
            ChannelOrder::Rgb => ", RGB",
            ChannelOrder::Bgr => ", BGR",
        })?;
        match self.range {
            ValueRange::Unit => f.write_str(" 0–1"),
            ValueRange::Byte => f.write_str(" 0–255"),
            ValueRange::Standardised { mean, deviation } => {
                write!(f, " of mean {mean:?} and deviation {deviation:?}")
            }
        }
    }
}

/// What a model wants its input to be like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LetterboxSpec {
    /// The input's height and width.
    pub target: TargetSize,
    /// Everything else.
    pub preprocessing: Preprocessing,
}
