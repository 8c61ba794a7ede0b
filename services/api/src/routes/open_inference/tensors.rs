//! The tensors of detectors: encoded pictures in, boxes, scores and classes out.

use domain::{DetectedObject, five_decimals};
use serde_json::Value;

use super::schema::{DescribedTensor, OutputTensor, TensorContent};

/// A dimension of any length.
const ANY: i64 = -1;
/// The corners of a box.
const CORNERS: i64 = 4;
/// The class of what is no object, behind those of a picture that has fewer than another one.
const NO_CLASS: i64 = -1;

/// A tensor of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// How many objects are in each picture.
    NumDetections,
    /// Left, top, right and bottom of each object, in pixels of the picture.
    Boxes,
    /// The confidence of each object.
    Scores,
    /// The class of each object, by its index.
    Classes,
    /// The class of each object, by its name.
    Labels,
}

/// Where the content of a tensor is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputData {
    /// In the JSON.
    Json,
    /// Behind the JSON, little-endian.
    Binary,
}

/// A tensor that an answer has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Requested {
    pub(super) output: Output,
    pub(super) data: OutputData,
}

impl Requested {
    /// All outputs.
    pub(super) fn all(data: OutputData) -> Vec<Self> {
        Output::ALL.map(|output| Self { output, data }).into()
    }

    /// This tensor of `pictures`, the objects of each. What is sent behind the JSON is appended to `contents`.
    pub(super) fn tensor(
        self,
        pictures: &[&[DetectedObject]],
        contents: &mut Vec<u8>,
    ) -> OutputTensor {
        let most = pictures.iter().map(|objects| objects.len()).max().unwrap_or_default();
        let values = self.output.values(pictures, most);
        let content = match self.data {
            OutputData::Json => TensorContent::Data(values),
            OutputData::Binary => {
                let start = contents.len();
                values.iter().for_each(|value| self.output.datatype().write(value, contents));
                TensorContent::Behind((contents.len() - start) as u64)
            }
        };
        let shape = self.output.shape(pictures.len() as u64, most as u64);
        let datatype = self.output.datatype().name();
        OutputTensor::new(self.output.name(), datatype, shape, content)
    }
}

impl Output {
    pub(super) const ALL: [Self; 5] =
        [Self::NumDetections, Self::Boxes, Self::Scores, Self::Classes, Self::Labels];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NumDetections => "num_detections",
            Self::Boxes => "boxes",
            Self::Scores => "scores",
            Self::Classes => "classes",
            Self::Labels => "labels",
        }
    }

    /// The output of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|output| output.name() == name)
    }

    /// All names, for an error.
    pub(super) fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    fn datatype(self) -> Datatype {
        match self {
            Self::NumDetections | Self::Classes => Datatype::Int32,
            Self::Boxes | Self::Scores => Datatype::Fp32,
            Self::Labels => Datatype::Bytes,
        }
    }

    fn shape(self, pictures: u64, most: u64) -> Vec<u64> {
        match self {
            Self::NumDetections => vec![pictures],
            Self::Boxes => vec![pictures, most, CORNERS.unsigned_abs()],
            Self::Scores | Self::Classes | Self::Labels => vec![pictures, most],
        }
    }

    /// How a model's metadata describes it.
    pub(super) fn described(self) -> DescribedTensor {
        let shape = match self {
            Self::NumDetections => vec![ANY],
            Self::Boxes => vec![ANY, ANY, CORNERS],
            Self::Scores | Self::Classes | Self::Labels => vec![ANY, ANY],
        };
        DescribedTensor::new(self.name(), self.datatype().name(), shape)
    }

    /// Its elements; `most` objects for each picture, those that are missing as zeros.
    fn values(self, pictures: &[&[DetectedObject]], most: usize) -> Vec<Value> {
        let padded = pictures.iter().flat_map(|objects| (0..most).map(|at| objects.get(at)));
        match self {
            Self::NumDetections => {
                pictures.iter().map(|objects| Value::from(objects.len())).collect()
            }
            Self::Boxes => padded.flat_map(corners).map(Value::from).collect(),
            Self::Scores => padded
                .map(|object| object.map_or(0.0, |it| five_decimals(it.detection.confidence)))
                .map(Value::from)
                .collect(),
            Self::Classes => padded
                .map(|object| object.map_or(NO_CLASS, |it| i64::from(it.detection.class_id.0)))
                .map(Value::from)
                .collect(),
            Self::Labels => {
                padded.map(|object| object.map_or("", |it| &*it.label)).map(Value::from).collect()
            }
        }
    }
}

/// The corners of a box, to as many decimals as everywhere.
fn corners(object: Option<&DetectedObject>) -> [f64; 4] {
    let Some(object) = object else { return [0.0; 4] };
    let bbox = object.detection.bbox;
    [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(five_decimals)
}

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy)]
enum Datatype {
    Int32,
    Fp32,
    Bytes,
}

impl Datatype {
    fn name(self) -> &'static str {
        match self {
            Self::Int32 => "INT32",
            Self::Fp32 => "FP32",
            Self::Bytes => "BYTES",
        }
    }

    /// Appends an element, little-endian; a text behind its length.
    fn write(self, value: &Value, contents: &mut Vec<u8>) {
        match self {
            Self::Int32 => {
                let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
                contents.extend(number.unwrap_or(i32::MAX).to_le_bytes());
            }
            Self::Fp32 => {
                // Back to the precision that it had before it was rounded.
                contents.extend((value.as_f64().unwrap_or_default() as f32).to_le_bytes());
            }
            Self::Bytes => {
                let text = value.as_str().unwrap_or_default().as_bytes();
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                contents.extend(length.to_le_bytes());
                contents.extend(text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::{BoundingBox, ClassId, Detection};
    use poem_openapi::types::ToJSON;
    use serde_json::json;

    use super::*;

    fn object(label: &str, class: u32, confidence: f32) -> DetectedObject {
        let bbox = BoundingBox { x1: 0.1, y1: 2.0, x2: 30.5, y2: 40.123_456 };
        let detection = Detection { bbox, class_id: ClassId(class), confidence };
        DetectedObject { detection, label: label.to_owned() }
    }

    fn tensor(
        output: Output,
        data: OutputData,
        pictures: &[&[DetectedObject]],
    ) -> (Value, Vec<u8>) {
        let mut contents = b"before".to_vec();
        let tensor = Requested { output, data }.tensor(pictures, &mut contents);
        (tensor.to_json().unwrap(), contents.split_off(6))
    }

    #[test]
    fn a_picture_with_fewer_objects_is_padded() {
        let (two, none) = ([object("bus", 5, 0.873_448), object("é", 1, 0.5)], []);
        let pictures = [&two[..], &none[..]];
        let cases = [
            (Output::NumDetections, json!({ "shape": [2], "data": [2, 0] })),
            (Output::Scores, json!({ "shape": [2, 2], "data": [0.87345, 0.5, 0.0, 0.0] })),
            (Output::Classes, json!({ "shape": [2, 2], "data": [5, 1, -1, -1] })),
            (Output::Labels, json!({ "shape": [2, 2], "data": ["bus", "é", "", ""] })),
        ];
        for (output, expected) in cases {
            let (found, contents) = tensor(output, OutputData::Json, &pictures);
            assert_eq!(found["shape"], expected["shape"], "{found}");
            assert_eq!(found["data"], expected["data"], "{found}");
            assert!(contents.is_empty() && found["parameters"].is_null(), "{found}");
        }
        let (boxes, _) = tensor(Output::Boxes, OutputData::Json, &pictures);
        assert_eq!(boxes["shape"], json!([2, 2, 4]));
        let data = boxes["data"].as_array().unwrap();
        assert_eq!(data[..4], json!([0.1, 2.0, 30.5, 40.12346]).as_array().unwrap()[..]);
        assert_eq!(data.len(), 16);
    }

    #[test]
    fn a_tensor_behind_the_json_is_little_endian() {
        let one = [object("bus", 258, 0.5)];
        let pictures = [&one[..]];
        let cases = [
            (Output::NumDetections, vec![1, 0, 0, 0]),
            (Output::Classes, vec![2, 1, 0, 0]),
            (Output::Scores, 0.5_f32.to_le_bytes().to_vec()),
            (Output::Labels, b"\x03\0\0\0bus".to_vec()),
            (
                Output::Boxes,
                [0.1_f32, 2.0, 30.5, 40.12346].iter().flat_map(|side| side.to_le_bytes()).collect(),
            ),
        ];
        for (output, expected) in cases {
            let (found, contents) = tensor(output, OutputData::Binary, &pictures);
            assert_eq!(contents, expected, "{output:?}");
            assert_eq!(found["parameters"]["binary_data_size"], expected.len(), "{found}");
            assert!(found["data"].is_null(), "{found}");
        }
        let (empty, contents) = tensor(Output::Boxes, OutputData::Binary, &[&[]]);
        assert_eq!(empty["shape"], json!([1, 0, 4]));
        assert_eq!((contents.len(), &empty["parameters"]["binary_data_size"]), (0, &json!(0)));
    }
}
