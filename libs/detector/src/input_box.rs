//! Boxes in the pixels of a model's input, which are not those of the picture.

use domain::overlap;

/// An axis-aligned box given by two corners, in pixels of the model's input, padding included.
///
/// `(x1, y1)` is the top left corner and `(x2, y2)` the bottom right one; y grows downwards.
/// [`Letterbox::to_source`](crate::preprocess::letterbox::Letterbox::to_source) gives the box in the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputBox {
    /// Left edge, in pixels.
    pub x1: f32,
    /// Top edge, in pixels.
    pub y1: f32,
    /// Right edge, in pixels.
    pub x2: f32,
    /// Bottom edge, in pixels.
    pub y2: f32,
}

impl InputBox {
    /// The box of this width and height around a centre.
    pub(crate) fn around([x, y]: [f32; 2], [width, height]: [f32; 2]) -> Self {
        let (half_width, half_height) = (width / 2.0, height / 2.0);
        Self { x1: x - half_width, y1: y - half_height, x2: x + half_width, y2: y + half_height }
    }

    /// Left, top, right and bottom edge.
    pub(crate) fn sides(self) -> [f32; 4] {
        let Self { x1, y1, x2, y2 } = self;
        [x1, y1, x2, y2]
    }

    /// Width times height in square pixels; 0 for an inverted box.
    #[must_use]
    pub fn area(&self) -> f32 {
        overlap::area(self.sides())
    }

    /// Intersection over union with `other`, from 0 (disjoint) to 1 (equal); 0 if both are empty.
    #[must_use]
    pub fn iou(&self, other: &Self) -> f32 {
        overlap::over_union(self.sides(), other.sides())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bbox(x1: f32, y1: f32, x2: f32, y2: f32) -> InputBox {
        InputBox { x1, y1, x2, y2 }
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
}
