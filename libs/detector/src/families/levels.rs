//! Which levels of a head have as many cells as an output has boxes.

use super::declared::Shapes;
use super::family::Levels;

/// Pixels along a cell of the levels that detectors have, finest first.
const LEVELS: [u32; 6] = [4, 8, 16, 32, 64, 128];
/// The levels of most detectors, and of every YOLOX.
pub(super) const USUAL: [u32; 3] = [8, 16, 32];

/// The meanings of an output with `values` values, of which all but `others` are the scores of classes, for each of
/// `boxes` boxes, where each cell has `anchors` boxes. The usual levels come first.
pub(super) fn readings(
    [boxes, anchors]: [u64; 2],
    [values, others]: [u64; 2],
    size: (u32, u32),
) -> Vec<Levels> {
    let Some(classes) = Shapes::classes(values.saturating_sub(others)) else { return Vec::new() };
    let fits =
        |strides: &Vec<u32>| cells(strides, size).map(|cells| cells * anchors) == Some(boxes);
    let mut readings: Vec<Levels> =
        sets_of_levels().filter(fits).map(|strides| Levels { classes, strides }).collect();
    readings.sort_by_key(|reading| reading.strides != USUAL);
    readings
}

/// Every set of levels that is not empty.
fn sets_of_levels() -> impl Iterator<Item = Vec<u32>> {
    (1_u32..1 << LEVELS.len()).map(|set| {
        let chosen = |(place, _): &(usize, u32)| set >> place & 1 == 1;
        LEVELS.into_iter().enumerate().filter(chosen).map(|(_, stride)| stride).collect()
    })
}

/// The cells of all levels together; `None` if the picture is not made of whole ones.
fn cells(strides: &[u32], (width, height): (u32, u32)) -> Option<u64> {
    let level = |&stride: &u32| {
        let is_whole = width.is_multiple_of(stride) && height.is_multiple_of(stride);
        is_whole.then(|| u64::from(width / stride) * u64::from(height / stride))
    };
    strides.iter().map(level).sum()
}
