//! Areas of axis-aligned boxes, given by left, top, right and bottom edge, in whatever pixels these are.

/// Width times height; 0 for an inverted box.
#[inline]
#[must_use]
pub fn area([x1, y1, x2, y2]: [f32; 4]) -> f32 {
    // Both sides are clamped before the product: two negative sides would make a positive area.
    (x2 - x1).max(0.0) * (y2 - y1).max(0.0)
}

/// The area that two boxes have in common.
#[inline]
#[must_use]
pub fn intersection(a: [f32; 4], b: [f32; 4]) -> f32 {
    area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])])
}

/// Intersection over union, from 0 (disjoint) to 1 (equal); 0 if both are empty.
#[inline]
#[must_use]
pub fn over_union(a: [f32; 4], b: [f32; 4]) -> f32 {
    let common = intersection(a, b);
    ratio(common, area(a) + area(b) - common)
}

/// Intersection over the smaller area; 0 if one is empty.
#[inline]
#[must_use]
pub fn over_smaller(a: [f32; 4], b: [f32; 4]) -> f32 {
    ratio(intersection(a, b), area(a).min(area(b)))
}

#[inline]
fn ratio(part: f32, all: f32) -> f32 {
    if all > 0.0 { part / all } else { 0.0 }
}
