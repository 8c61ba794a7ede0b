//! What an output of a detector can mean: which kind, how many classes, which levels.
//!
//! A shape can be ambiguous: at 64 × 64 pixels YOLOv8 has 84 cells, and 84 rows with COCO's classes.
//! Then the values decide.

use crate::postprocess::heads::HeadKind;

/// Pixels along a cell of the levels that detectors have, finest first.
const LEVELS: [u32; 6] = [4, 8, 16, 32, 64, 128];
/// The levels of most detectors, and of every YOLOX.
const USUAL: [u32; 3] = [8, 16, 32];

/// The most classes; about as many names fit into the description of a model.
const MOST_CLASSES: usize = 1 << 16;

/// What kind of detector a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// YOLOv8, YOLO11 and other models with their plain head.
    Yolov8,
    /// YOLOX with its plain head.
    Yolox,
}

impl Family {
    /// The layout of its outputs as exported.
    pub(super) fn plain_head(self) -> HeadKind {
        match self {
            Self::Yolov8 => HeadKind::Yolov8,
            Self::Yolox => HeadKind::Yolox,
        }
    }
}

/// One possible meaning of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) family: Family,
    pub(super) classes: usize,
    /// Pixels along a cell of each level, finest first.
    pub(super) strides: Vec<u32>,
}

/// All possible meanings of an output of `[batch, rows, columns]` for a picture of `size`, width and height, the
/// most common first.
pub(super) fn of([rows, columns]: [u64; 2], size: (u32, u32)) -> Vec<Reading> {
    let reading = |family, values: u64, strides| {
        let classes = usize::try_from(values).ok().filter(|n| (1..=MOST_CLASSES).contains(n))?;
        Some(Reading { family, classes, strides })
    };
    let mut readings = Vec::new();
    if cells(&USUAL, size) == Some(rows) {
        readings.extend(reading(Family::Yolox, columns.saturating_sub(5), USUAL.to_vec()));
    }
    for strides in sets_of_levels() {
        if cells(&strides, size) == Some(columns) {
            readings.extend(reading(Family::Yolov8, rows.saturating_sub(4), strides));
        }
    }
    // The sort is stable: YOLOX stays before the YOLOv8 of the same levels.
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

/// Why values do not fit a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) found: &'static str,
    pub(super) expected: &'static str,
}

impl Reading {
    /// Why `data`, an output for one picture of `width` pixels, cannot have this meaning. Scores must be final:
    /// exports without sigmoid, or with decoded boxes, have the same shapes.
    pub(super) fn mismatch(&self, data: &[f32], width: u32) -> Option<Mismatch> {
        let is_score = |score: &f32| (0.0..=1.0).contains(score);
        let are_scores = match self.family {
            Family::Yolov8 => {
                let cells = data.len() / (4 + self.classes);
                data[4 * cells..].iter().all(is_score)
            }
            Family::Yolox => {
                let mut rows = data.chunks_exact(5 + self.classes);
                // A raw offset is one or two cells; a decoded centre can be anywhere in the picture.
                if rows.clone().any(|row| row[0].abs() > width as f32 / 4.0) {
                    return Some(Mismatch {
                        found: "box centres in pixels",
                        expected: "a YOLOX export without `decode_in_inference`: offsets within the grid",
                    });
                }
                rows.all(|row| row[4..].iter().all(is_score))
            }
        };
        (!are_scores).then_some(Mismatch {
            found: "scores outside 0 to 1",
            expected: "an export with sigmoid applied to its scores",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(shape: [u64; 2], size: (u32, u32)) -> Vec<(Family, usize, Vec<u32>)> {
        let readings = of(shape, size).into_iter();
        readings.map(|reading| (reading.family, reading.classes, reading.strides)).collect()
    }

    #[test]
    fn a_shape_tells_kind_classes_and_levels() {
        use Family::{Yolov8, Yolox};
        for (shape, size, family, classes, strides) in [
            ([84, 8400], (640, 640), Yolov8, 80, &[8, 16, 32][..]),
            ([5, 6300], (480, 640), Yolov8, 1, &[8, 16, 32]),
            ([84, 34000], (640, 640), Yolov8, 80, &[4, 8, 16, 32]),
            ([84, 8500], (640, 640), Yolov8, 80, &[8, 16, 32, 64]),
            ([84, 2000], (640, 640), Yolov8, 80, &[16, 32]),
            ([84, 33600], (1280, 1280), Yolov8, 80, &[8, 16, 32]),
            ([84, 189], (96, 96), Yolov8, 80, &[8, 16, 32]),
            ([3549, 85], (416, 416), Yolox, 80, &[8, 16, 32]),
        ] {
            let found = read(shape, size);
            assert_eq!(found, [(family, classes, strides.to_vec())], "{shape:?} at {size:?}");
        }
    }

    #[test]
    fn some_shapes_can_be_two_things() {
        use Family::{Yolov8, Yolox};
        let usual = USUAL.to_vec();
        let found = read([84, 84], (64, 64));
        assert_eq!(found, [(Yolox, 79, usual.clone()), (Yolov8, 80, usual.clone())]);
        let found = read([84, 85], (64, 64));
        assert_eq!(found, [(Yolox, 80, usual), (Yolov8, 80, vec![8, 16, 32, 64])]);
    }

    #[test]
    fn what_is_no_detector_has_no_reading() {
        let shapes =
            [[300, 6], [25200, 85], [4, 8400], [0, 0], [u64::MAX, 8400], [8400, 5], [1000, 1]];
        for shape in shapes {
            assert_eq!(read(shape, (640, 640)), [], "{shape:?}");
        }
        // Not made of whole cells of any level.
        assert_eq!(read([84, 84], (65, 65)), []);
    }
}
