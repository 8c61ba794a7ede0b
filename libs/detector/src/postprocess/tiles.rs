//! The objects of a picture from those of its tiles.
//!
//! Tiles overlap, so an object is found several times, and one that an edge cuts is found in pieces. Two ways are common:
//! suppression (NMS) keeps the pieces, and merging (greedy NMM, by intersection over the smaller area) unites small
//! objects with larger ones beside them. What is known here is where a tile was cut. So boxes that no cut touches are
//! suppressed; a piece is dropped where a whole object explains it; only the pieces that are left are merged.
//! `docs/small-objects.md` has the measurement.

use std::cmp::Ordering;

use domain::{BoundingBox, DetectedObject, DetectionSettings, Tile, overlap};

use crate::detector::{Detections, StageTimings};

/// Whole objects of a class that overlap more than this, as intersection over union, are one. A request may ask for less.
const SAME: f32 = 0.5;
/// A piece lies within an object if they have this share of the smaller one in common.
const WITHIN: f32 = 0.5;
/// A box touches a cut that is at most this share of its tile's side away, about two pixels of a model's input of 640.
const TOUCH: f32 = 2.0 / 640.0;
/// The same in pixels, for small tiles.
const LEAST_TOUCH: f32 = 2.0;

/// The detections of the picture whose first part is `tiles[0]`, the whole, from those of each part. `None` if there is no
/// part.
pub(crate) fn merge(
    tiles: &[Tile],
    parts: Vec<Detections>,
    settings: &DetectionSettings,
) -> Option<Detections> {
    let whole = *tiles.first()?;
    let timings = parts.iter().map(|part| part.timings).fold(StageTimings::default(), add);
    let mut found = Vec::new();
    let mut parts = parts.into_iter().zip(tiles);
    let (mut merged, _) = parts.next()?;
    found.extend(std::mem::take(&mut merged.objects).into_iter().map(Found::complete));
    for (part, tile) in parts {
        found.extend(part.objects.into_iter().map(|object| Found::in_tile(object, tile, &whole)));
    }
    found.sort_by(|a, b| best_first(&a.object, &b.object));
    Some(Detections { objects: unite(found, settings), timings, ..merged })
}

fn add(sum: StageTimings, one: StageTimings) -> StageTimings {
    StageTimings {
        decode: sum.decode + one.decode,
        letterbox: sum.letterbox + one.letterbox,
        infer: sum.infer + one.infer,
        postprocess: sum.postprocess + one.postprocess,
    }
}

fn best_first(a: &DetectedObject, b: &DetectedObject) -> Ordering {
    b.detection.confidence.total_cmp(&a.detection.confidence)
}

/// An object of one part, in pixels of the picture.
struct Found {
    object: DetectedObject,
    /// Whether it touches an edge of its tile that is not the picture's.
    is_piece: bool,
}

impl Found {
    fn complete(object: DetectedObject) -> Self {
        Self { object, is_piece: false }
    }

    fn in_tile(mut object: DetectedObject, tile: &Tile, whole: &Tile) -> Self {
        let BoundingBox { x1, y1, x2, y2 } = object.detection.bbox;
        let (width, height) = (tile.width as f32, tile.height as f32);
        let [near_x, near_y] = [width, height].map(|side| (side * TOUCH).max(LEAST_TOUCH));
        let is_piece = tile.x > 0 && x1 <= near_x
            || tile.y > 0 && y1 <= near_y
            || tile.x + tile.width < whole.width && x2 >= width - near_x
            || tile.y + tile.height < whole.height && y2 >= height - near_y;
        let (left, top) = (tile.x as f32, tile.y as f32);
        object.detection.bbox =
            BoundingBox { x1: x1 + left, y1: y1 + top, x2: x2 + left, y2: y2 + top };
        Self { object, is_piece }
    }
}

/// The objects of `found`, which is sorted best first.
fn unite(found: Vec<Found>, settings: &DetectionSettings) -> Vec<DetectedObject> {
    let most = usize::from(settings.max_detections.get());
    let same = SAME.min(settings.iou.get());
    let is_comparable = |a: &DetectedObject, b: &DetectedObject| {
        settings.class_agnostic || a.detection.class_id == b.detection.class_id
    };
    let (pieces, complete): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| found.is_piece);
    let mut kept: Vec<DetectedObject> = Vec::new();
    for Found { object, .. } in complete {
        let is_known = |other: &DetectedObject| {
            is_comparable(other, &object) && other.detection.bbox.iou(&object.detection.bbox) > same
        };
        if kept.len() < most && !kept.iter().any(is_known) {
            kept.push(object);
        }
    }
    let mut united: Vec<DetectedObject> = Vec::new();
    for Found { object, .. } in pieces {
        let bbox = &object.detection.bbox;
        let belongs_to = |other: &DetectedObject| {
            is_comparable(other, &object)
                && overlap::over_smaller(other.detection.bbox.sides(), bbox.sides()) > WITHIN
        };
        if kept.iter().any(belongs_to) {
            continue;
        }
        // Best first, so the object has the score of its best piece.
        match united.iter().position(belongs_to) {
            Some(place) => {
                let other = &mut united[place].detection.bbox;
                *other = around(other, bbox);
            }
            None if united.len() < most => united.push(object),
            None => {}
        }
    }
    kept.extend(united);
    kept.sort_by(best_first);
    kept.truncate(most);
    kept
}

/// The smallest box around both.
fn around(a: &BoundingBox, b: &BoundingBox) -> BoundingBox {
    BoundingBox { x1: a.x1.min(b.x1), y1: a.y1.min(b.y1), x2: a.x2.max(b.x2), y2: a.y2.max(b.y2) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::{ClassId, Detection};

    use super::*;
    use crate::decode::Warnings;

    /// A picture of 180 × 100 pixels: the whole, and two tiles of 100 × 100 that overlap by 20 columns.
    const TILES: [Tile; 3] = [
        Tile { x: 0, y: 0, width: 180, height: 100 },
        Tile { x: 0, y: 0, width: 100, height: 100 },
        Tile { x: 80, y: 0, width: 100, height: 100 },
    ];

    fn object(class: u32, [x1, y1, x2, y2]: [f32; 4], confidence: f32) -> DetectedObject {
        let bbox = BoundingBox { x1, y1, x2, y2 };
        let detection = Detection { bbox, class_id: ClassId(class), confidence };
        DetectedObject { detection, label: class.to_string() }
    }

    fn part(tile: &Tile, objects: Vec<DetectedObject>) -> Detections {
        Detections {
            objects,
            width: tile.width,
            height: tile.height,
            warnings: Warnings::default(),
            model_digest: [7; 32].into(),
            timings: StageTimings { infer: Duration::from_millis(2), ..StageTimings::default() },
        }
    }

    /// Class, box and confidence of each object.
    fn merged(
        parts: [Vec<DetectedObject>; 3],
        settings: &DetectionSettings,
    ) -> Vec<DetectedObject> {
        let parts = TILES.iter().zip(parts).map(|(tile, objects)| part(tile, objects)).collect();
        let merged = merge(&TILES, parts, settings).unwrap();
        assert_eq!((merged.width, merged.height), (180, 100));
        assert_eq!(merged.timings.infer, Duration::from_millis(6));
        merged.objects
    }

    #[test]
    fn an_object_that_several_parts_see_is_one() {
        let found = merged(
            [
                vec![object(0, [85.0, 10.0, 98.0, 20.0], 0.5)],
                vec![object(0, [85.0, 10.0, 97.0, 20.0], 0.9)],
                vec![
                    object(0, [5.0, 10.0, 18.0, 20.0], 0.7),
                    object(1, [5.0, 10.0, 18.0, 20.0], 0.6),
                ],
            ],
            &DetectionSettings::default(),
        );
        let expected =
            [object(0, [85.0, 10.0, 97.0, 20.0], 0.9), object(1, [85.0, 10.0, 98.0, 20.0], 0.6)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_piece_gives_way_to_the_object_even_with_a_better_score() {
        let whole = object(0, [20.0, 10.0, 160.0, 90.0], 0.4);
        let found = merged(
            [
                vec![whole.clone()],
                vec![object(0, [20.0, 10.0, 100.0, 90.0], 0.9)],
                vec![object(0, [0.5, 10.0, 80.0, 90.0], 0.8)],
            ],
            &DetectionSettings::default(),
        );
        assert_eq!(found, [whole]);
    }

    #[test]
    fn pieces_of_an_object_that_no_part_sees_whole_are_united() {
        let found = merged(
            [
                vec![],
                vec![object(0, [70.0, 10.0, 99.5, 20.0], 0.6)],
                vec![object(0, [0.0, 10.0, 40.0, 22.0], 0.8)],
            ],
            &DetectionSettings::default(),
        );
        assert_eq!(found, [object(0, [70.0, 10.0, 120.0, 22.0], 0.8)]);
    }

    #[test]
    fn a_small_object_within_a_large_one_stays() {
        let (large, small) =
            (object(0, [10.0, 10.0, 70.0, 90.0], 0.9), object(0, [20.0, 20.0, 30.0, 30.0], 0.5));
        let found = merged(
            [vec![large.clone()], vec![large.clone(), small.clone()], vec![]],
            &DetectionSettings::default(),
        );
        assert_eq!(found, [large, small]);
    }

    #[test]
    fn a_box_at_the_edge_of_the_picture_is_no_piece() {
        let at_edges =
            [object(0, [0.0, 0.0, 30.0, 100.0], 0.9), object(0, [2.0, 0.0, 20.0, 90.0], 0.8)];
        let found = merged(
            [vec![], at_edges.to_vec(), vec![]],
            &DetectionSettings { iou: 0.7.try_into().unwrap(), ..DetectionSettings::default() },
        );
        // They overlap by 0.54 of their union.
        assert_eq!(found, at_edges[..1]);
    }

    #[test]
    fn the_settings_hold_for_the_picture() {
        let one = |class, confidence| object(class, [10.0, 10.0, 30.0, 30.0], confidence);
        let parts = || {
            [vec![one(0, 0.5)], vec![one(1, 0.6)], vec![object(2, [50.0, 50.0, 60.0, 60.0], 0.4)]]
        };
        let agnostic = DetectionSettings { class_agnostic: true, ..DetectionSettings::default() };
        let labels = |found: Vec<DetectedObject>| -> Vec<String> {
            found.into_iter().map(|object| object.label).collect()
        };
        assert_eq!(labels(merged(parts(), &DetectionSettings::default())), ["1", "0", "2"]);
        assert_eq!(labels(merged(parts(), &agnostic)), ["1", "2"]);
        let few = DetectionSettings {
            max_detections: 1.try_into().unwrap(),
            ..DetectionSettings::default()
        };
        assert_eq!(labels(merged(parts(), &few)), ["1"]);
    }
}
