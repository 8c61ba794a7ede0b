//! Boxes in the pixels of the source picture.

use serde::{Deserialize, Serialize};

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
    /// Width times height in square pixels; 0 for a box turned inside out.
    #[must_use]
    pub fn area(&self) -> f32 {
        // Both sides are clamped before the product: two negative sides would make a positive area.
        (self.x2 - self.x1).max(0.0) * (self.y2 - self.y1).max(0.0)
    }

    /// Intersection over union with `other`, from 0 (disjoint) to 1 (equal); 0 if both are empty.
    #[must_use]
    pub fn iou(&self, other: &Self) -> f32 {
        let overlap = Self {
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
            x2: self.x2.min(other.x2),
            y2: self.y2.min(other.y2),
        }
        .area();
        let union = self.area() + other.area() - overlap;
        if union > 0.0 { overlap / union } else { 0.0 }
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
    fn iou_of_pairs() {
        let unit = bbox(0.0, 0.0, 10.0, 10.0);
        let cases = [
            ("equal", unit, 1.0),
            ("half", bbox(0.0, 0.0, 10.0, 5.0), 0.5),
            ("touching", bbox(10.0, 0.0, 20.0, 10.0), 0.0),
            ("disjoint on one axis", bbox(30.0, 0.0, 40.0, 10.0), 0.0),
            // Both overlaps are negative here, so their product is not.
            ("disjoint on both axes", bbox(30.0, 30.0, 40.0, 40.0), 0.0),
        ];
        for (what, other, expected) in cases {
            assert!((unit.iou(&other) - expected).abs() < 1e-6, "{what}: {}", unit.iou(&other));
            assert_eq!(unit.iou(&other), other.iou(&unit), "{what}: symmetric");
        }
    }

    #[test]
    fn empty_boxes_do_not_divide_by_zero() {
        let point = bbox(5.0, 5.0, 5.0, 5.0);
        assert_eq!(point.iou(&point), 0.0);
    }

    #[test]
    fn clip_keeps_the_inside() {
        let clipped = bbox(-3.0, 2.0, 50.0, 99.0).clip(40.0, 30.0);
        assert_eq!(clipped, bbox(0.0, 2.0, 40.0, 30.0));
    }
}
