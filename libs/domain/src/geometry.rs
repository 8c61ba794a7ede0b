//! Boxes in the pixels of the source picture.

use serde::{Deserialize, Serialize};

use crate::overlap;

/// An axis-aligned box given by two corners, in pixels of the source picture.
///
/// `(x1, y1)` is the top left corner and `(x2, y2)` the bottom right one; y grows downwards.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BoundingBox {
    /// Left edge, in pixels.
    pub x1: f32,
    /// Top edge, in pixels.
    pub y1: f32,
    /// Right edge, in pixels.
    pub x2: f32,
    /// Bottom edge, in pixels.
    pub y2: f32,
}

impl BoundingBox {
    /// Left, top, right and bottom edge.
    #[must_use]
    pub fn sides(&self) -> [f32; 4] {
        let Self { x1, y1, x2, y2 } = *self;
        [x1, y1, x2, y2]
    }

    /// Intersection over union with `other`, from 0 (disjoint) to 1 (equal); 0 if both are empty.
    #[must_use]
    pub fn iou(&self, other: &Self) -> f32 {
        overlap::over_union(self.sides(), other.sides())
    }

    /// The part of the box inside a picture of `width` × `height` pixels.
    #[must_use]
    pub fn clip(&self, width: f32, height: f32) -> Self {
        Self {
            x1: self.x1.clamp(0.0, width),
            y1: self.y1.clamp(0.0, height),
            x2: self.x2.clamp(0.0, width),
            y2: self.y2.clamp(0.0, height),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bbox(x1: f32, y1: f32, x2: f32, y2: f32) -> BoundingBox {
        BoundingBox { x1, y1, x2, y2 }
    }

    #[test]
    fn clip_keeps_the_inside() {
        let clipped = bbox(-3.0, 2.0, 50.0, 99.0).clip(40.0, 30.0);
        assert_eq!(clipped, bbox(0.0, 2.0, 40.0, 30.0));
    }
}
