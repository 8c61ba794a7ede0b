//! Comma-separated values (RFC 4180).

use std::{borrow::Cow, fmt::Write};

use super::input::{Annotations, five_decimals};

const HEADER: &str = "image,width,height,class_id,label,confidence,x1,y1,x2,y2\r\n";

/// A spreadsheet takes a cell that begins with one of these for a formula, which may run programs or send data (OWASP,
/// "CSV Injection"). It takes the full-width forms for the others.
const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

pub(super) fn render(annotations: &Annotations<'_>) -> String {
    let Annotations { picture_name, width, height, objects } = *annotations;
    let picture = cell(picture_name);
    let mut text = HEADER.to_owned();
    for object in objects {
        let bbox = object.detection.bbox;
        let [x1, y1, x2, y2] = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(five_decimals);
        let (class, confidence) =
            (object.detection.class_id.0, five_decimals(object.detection.confidence));
        let label = cell(&object.label);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{picture},{width},{height},{class},{label},{confidence},{x1},{y1},{x2},{y2}\r\n"
        );
    }
    text
}

/// `text` as a cell: quoted where that is necessary, and with an apostrophe in front where a spreadsheet would take it
/// for a formula.
fn cell(text: &str) -> Cow<'_, str> {
    let text = match text.starts_with(FORMULA) {
        true => Cow::from(format!("'{text}")),
        false => Cow::from(text),
    };
    match text.contains(['"', ',', '\r', '\n']) {
        true => Cow::from(format!("\"{}\"", text.replace('"', "\"\""))),
        false => text,
    }
}
