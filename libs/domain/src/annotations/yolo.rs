//! The text files of YOLO: a line for each object, with sides and centres as parts of the picture's.

use std::fmt::Write;

use super::input::{Annotations, five_decimals};

/// Whether a line has the confidence as its sixth column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confidence {
    Written,
    /// Readers of labels for training reject more than five columns, or take them for a polygon.
    LeftOut,
}

pub(super) fn render(annotations: &Annotations<'_>, confidence: Confidence) -> String {
    let (width, height) =
        (f64::from(annotations.width.max(1)), f64::from(annotations.height.max(1)));
    let mut text = String::new();
    for object in annotations.objects {
        let bbox = object.detection.bbox;
        let across = [bbox.x1, bbox.x2].map(|x| part(x, width));
        let down = [bbox.y1, bbox.y2].map(|y| part(y, height));
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{} {:.6} {:.6} {:.6} {:.6}",
            object.detection.class_id.0,
            f64::midpoint(across[0], across[1]),
            f64::midpoint(down[0], down[1]),
            (across[1] - across[0]).max(0.0),
            (down[1] - down[0]).max(0.0),
        );
        if confidence == Confidence::Written {
            let _ = write!(text, " {}", five_decimals(object.detection.confidence));
        }
        text.push('\n');
    }
    text
}

/// `pixels` as a part of a side: readers reject numbers outside 0 and 1.
fn part(pixels: f32, side: f64) -> f64 {
    (f64::from(pixels) / side).clamp(0.0, 1.0)
}
