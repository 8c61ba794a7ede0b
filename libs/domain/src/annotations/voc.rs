//! The XML of Pascal VOC, as in the annotations of its devkit (VOC2012, section 4).

use std::fmt::Write;

use super::input::{Annotations, five_decimals};

/// Channels of a decoded picture.
const DEPTH: u32 = 3;

/// Pixels are counted from 1, and the last one belongs to the box, as in the devkit: a box over the whole picture is
/// from 1 to its width. What the format has beyond boxes and names is unknown and has its neutral value.
pub(super) fn render(annotations: &Annotations<'_>) -> String {
    let Annotations { picture_name, width, height, objects } = *annotations;
    // Writing to a string cannot fail.
    let mut xml = format!(
        "<annotation>\n\
         \t<filename>{}</filename>\n\
         \t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>\n\
         \t\t<depth>{DEPTH}</depth>\n\t</size>\n\
         \t<segmented>0</segmented>\n",
        text(picture_name)
    );
    for object in objects {
        let bbox = object.detection.bbox;
        let (xmin, xmax) = pixels(bbox.x1, bbox.x2, width);
        let (ymin, ymax) = pixels(bbox.y1, bbox.y2, height);
        let _ = write!(
            xml,
            "\t<object>\n\t\t<name>{}</name>\n\t\t<pose>Unspecified</pose>\n\
             \t\t<truncated>0</truncated>\n\t\t<difficult>0</difficult>\n\
             \t\t<confidence>{}</confidence>\n\
             \t\t<bndbox>\n\t\t\t<xmin>{xmin}</xmin>\n\t\t\t<ymin>{ymin}</ymin>\n\
             \t\t\t<xmax>{xmax}</xmax>\n\t\t\t<ymax>{ymax}</ymax>\n\t\t</bndbox>\n\
             \t</object>\n",
            text(&object.label),
            five_decimals(object.detection.confidence),
        );
    }
    xml.push_str("</annotation>\n");
    xml
}

/// The first and the last pixel between two edges along a side, counted from 1. At least one pixel.
fn pixels(first_edge: f32, last_edge: f32, side: u32) -> (u32, u32) {
    let side = side.max(1);
    // Casts of floats saturate.
    let first = (first_edge.round() as u32).saturating_add(1).min(side);
    let last = (last_edge.round() as u32).clamp(first, side);
    (first, last)
}

/// `raw` as the text of an element. XML 1.0 has no notation for most control characters.
fn text(raw: &str) -> String {
    let mut escaped = String::with_capacity(raw.len());
    for character in raw.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // Parsers change a line's end to a line feed.
            '\r' => escaped.push_str("&#13;"),
            '\t' | '\n' => escaped.push(character),
            '\u{FFFE}' | '\u{FFFF}' => escaped.push(char::REPLACEMENT_CHARACTER),
            control if control < ' ' => escaped.push(char::REPLACEMENT_CHARACTER),
            other => escaped.push(other),
        }
    }
    escaped
}
