//! The reference implementation's results, and the tolerances.

use serde_json::Value;

/// The tolerance of a corner, in pixels.
const CORNER: f64 = 0.25;
const CONFIDENCE: f64 = 0.003;

/// Name, confidence, x1, y1, x2, y2: the table of the original application's README.
const BUS: [(&str, f64, [f64; 4]); 6] = [
    ("bus", 0.87345, [22.87127, 231.27731, 805.00262, 756.84045]),
    ("person", 0.86569, [48.55046, 398.55231, 245.3456, 902.7027]),
    ("person", 0.85284, [669.4729, 392.18594, 809.72015, 877.03546]),
    ("person", 0.82522, [221.51729, 405.79865, 344.97061, 857.53662]),
    ("person", 0.26111, [0.0, 550.52502, 63.00691, 873.44293]),
    ("stop sign", 0.25507, [0.05816, 254.4594, 32.55741, 324.87415]),
];

const ZIDANE: [(&str, f64, [f64; 4]); 3] = [
    ("person", 0.83597, [114.87012, 197.41199, 1114.46887, 711.8894]),
    ("person", 0.81896, [748.46143, 41.8551, 1143.07568, 713.02393]),
    ("tie", 0.29097, [439.47467, 437.07352, 524.34589, 709.15967]),
];

/// Compares `objects`, in the JSON of the original routes and of `--json`, with bus.jpg's table.
pub(crate) fn assert_bus(objects: &Value) {
    assert_table(objects, &BUS);
}

/// Compares `objects` with zidane.jpg's table.
pub(crate) fn assert_zidane(objects: &Value) {
    assert_table(objects, &ZIDANE);
}

fn assert_table(objects: &Value, expected: &[(&str, f64, [f64; 4])]) {
    let objects = objects.as_array().unwrap_or_else(|| panic!("no objects: {objects}"));
    assert_eq!(objects.len(), expected.len(), "{objects:#?}");
    for (object, (name, confidence, corners)) in objects.iter().zip(expected) {
        assert_eq!(object["name"], *name);
        let off = (object["confidence"].as_f64().unwrap() - confidence).abs();
        assert!(off <= CONFIDENCE, "{name}: confidence off by {off}");
        for (side, corner) in ["x1", "y1", "x2", "y2"].iter().zip(corners) {
            let off = (object["box"][side].as_f64().unwrap() - corner).abs();
            assert!(off <= CORNER, "{name}: {side} off by {off} px");
        }
    }
}
