//! Chooses the format of a result by any header `Accept`, and writes any objects and names in each format: the files stay
//! well-formed, and boxes stay within the picture.

#![no_main]

use api::fuzzing::accepted;
use arbitrary::Arbitrary;
use domain::{AnnotationFormat, Annotations, BoundingBox, ClassId, DetectedObject, Detection};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    accept: Vec<u8>,
    picture_name: String,
    width: u32,
    height: u32,
    objects: Vec<(u32, String, f32, [f32; 4])>,
}

fuzz_target!(|input: Input| {
    let Input { accept, picture_name, width, height, objects } = input;
    let chosen = accepted(&accept);
    assert!(chosen.is_none_or(|media_type| media_type.contains('/')));
    let object = |(class, label, confidence, [x1, y1, x2, y2]): (u32, String, f32, [f32; 4])| {
        let bbox = BoundingBox { x1, y1, x2, y2 };
        DetectedObject { detection: Detection { bbox, class_id: ClassId(class), confidence }, label }
    };
    let objects: Vec<_> = objects.into_iter().map(object).collect();
    let annotations =
        Annotations { picture_name: &picture_name, width, height, objects: &objects };
    for format in AnnotationFormat::ALL {
        let text = format.render(&annotations);
        match format {
            AnnotationFormat::Coco => check_coco(&text, objects.len()),
            AnnotationFormat::Csv => check_csv(&text, objects.len()),
            AnnotationFormat::Yolo => check_yolo(&text, 5, objects.len()),
            AnnotationFormat::YoloConfidence => check_yolo(&text, 6, objects.len()),
            AnnotationFormat::Voc => check_voc(&text, &annotations),
        }
    }
});

fn check_coco(text: &str, count: usize) {
    let coco: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
    assert_eq!(coco["annotations"].as_array().map(Vec::len), Some(count));
}

/// Cells of every row, of which none begins as a formula does.
fn check_csv(text: &str, count: usize) {
    let mut rows = vec![vec![String::new()]];
    let (mut is_quoted, mut characters) = (false, text.chars().peekable());
    while let Some(character) = characters.next() {
        let row = rows.last_mut().expect("there is always a row");
        match character {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                characters.next();
                row.last_mut().expect("a row has a cell").push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(String::new()),
            '\r' if !is_quoted && characters.peek() == Some(&'\n') => {
                characters.next();
                rows.push(vec![String::new()]);
            }
            other => row.last_mut().expect("a row has a cell").push(other),
        }
    }
    assert_eq!(rows.len(), count + 2, "a header, and an empty row after the last line's end");
    for row in &rows[..=count] {
        assert_eq!(row.len(), 10, "{row:?}");
        for text in [&row[0], &row[4]] {
            assert!(!text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']), "{text:?}");
        }
    }
}

fn check_yolo(text: &str, columns: usize, count: usize) {
    assert_eq!(text.lines().count(), count);
    for line in text.lines() {
        let numbers: Vec<f64> = line.split(' ').map(|part| part.parse().expect(line)).collect();
        assert_eq!(numbers.len(), columns, "{line}");
        let sides = &numbers[1..5];
        assert!(sides.iter().all(|side| side.is_nan() || (0.0..=1.0).contains(side)), "{line}");
    }
}

fn check_voc(text: &str, annotations: &Annotations<'_>) {
    let numbers = |name: &str| -> Vec<u32> {
        let (start, end) = (format!("\t<{name}>"), format!("</{name}>"));
        let lines = text.lines().filter_map(|line| line.trim_start_matches("\t\t").strip_prefix(&start));
        lines.filter_map(|rest| rest.strip_suffix(&end)?.parse().ok()).collect()
    };
    let count = annotations.objects.len();
    for (least, most, side) in
        [("xmin", "xmax", annotations.width), ("ymin", "ymax", annotations.height)]
    {
        let (least, most) = (numbers(least), numbers(most));
        assert_eq!((least.len(), most.len()), (count, count), "{text}");
        for (least, most) in least.into_iter().zip(most) {
            assert!(1 <= least && least <= most && most <= side.max(1), "{least} {most} of {side}");
        }
    }
    let is_xml = |character: char| character >= ' ' || matches!(character, '\t' | '\n');
    assert!(text.chars().all(is_xml), "{text:?}");
}
