//! The format of a model's input, and the mapping between an input and its picture.

use domain::BoundingBox;

use crate::input_box::InputBox;

/// How a model's input relates to the picture it was made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    /// Pixels of the model's input for each pixel of the picture.
    pub scale: f32,
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
            x1: (bbox.x1 - self.pad_x) / self.scale,
            y1: (bbox.y1 - self.pad_y) / self.scale,
            x2: (bbox.x2 - self.pad_x) / self.scale,
            y2: (bbox.y2 - self.pad_y) / self.scale,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// In the middle, sides rounded to the nearest pixel (Ultralytics).
    Centre,
    /// At the top left, sides cut down to whole pixels (YOLOX).
    TopLeft,
}

/// The order of the three planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// What the brightest value becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueRange {
    /// 0 to 1: bytes are divided by 255.
    Unit,
    /// 0 to 255: bytes as they are.
    Byte,
}

/// What a model wants its input to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LetterboxSpec {
    /// The input's height and width.
    pub target: TargetSize,
    /// Where the picture lies in it.
    pub placement: Placement,
    /// The order of the planes.
    pub channels: ChannelOrder,
    /// The range of the values.
    pub range: ValueRange,
}
