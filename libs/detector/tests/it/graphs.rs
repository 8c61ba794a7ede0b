//! Small detectors with YOLOv8's head, made for a test: real graphs that ONNX Runtime runs.

use detector::onnx::{
    OnnxModel,
    proto::{
        AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
        StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
        attribute_proto::AttributeType,
        tensor_shape_proto::{Dimension, dimension::Value},
        type_proto::{Tensor, Value as TypeValue},
    },
};

pub(crate) const FLOAT32: i32 = 1;
pub(crate) const FLOAT16: i32 = 10;
pub(crate) const INT64: i32 = 7;
/// Channels of every level before the head.
const CHANNELS: i64 = 8;
/// Bins of a distance.
const BINS: i64 = 16;

/// A detector with a stride for each level and random weights.
#[derive(Debug, Clone)]
pub(crate) struct TinyDetector {
    /// Powers of two, finest first.
    pub(crate) strides: Vec<i64>,
    pub(crate) classes: i64,
    pub(crate) batch: i64,
    pub(crate) height: i64,
    pub(crate) width: i64,
    /// Values for each cell beside its box and classes, as of poses and oriented boxes.
    pub(crate) extras: i64,
    /// The version of the operators, 11 to 22.
    pub(crate) opset: i64,
}

impl Default for TinyDetector {
    fn default() -> Self {
        let strides = vec![8, 16, 32];
        Self { strides, classes: 3, batch: 1, height: 128, width: 192, extras: 0, opset: 17 }
    }
}

impl TinyDetector {
    /// The model as an exporter with fixed shapes writes it.
    pub(crate) fn model(&self) -> OnnxModel {
        let mut graph = Builder::default();
        let levels = self.trunk(&mut graph);
        let cells: i64 = self.strides.iter().map(|s| (self.height / s) * (self.width / s)).sum();
        let (mut boxes, mut scores, mut extras) = (Vec::new(), Vec::new(), Vec::new());
        for (level, stride) in levels.iter().zip(&self.strides) {
            let mut flat = |what: &str, channels: i64, gain: f32, bias: f32| {
                let name = format!("{what}{stride}");
                graph.conv(&name, level, [channels, CHANNELS, 1, 1], gain, bias, 1);
                graph.reshape(&name, &format!("{name}_flat"), &[self.batch, channels, -1])
            };
            boxes.push(flat("box", 4 * BINS, 4.0, 0.0));
            scores.push(flat("class", self.classes, 12.0, -4.0));
            if self.extras > 0 {
                extras.push(flat("extra", self.extras, 0.1, 0.5));
            }
        }
        graph.node("Concat", &boxes, "boxes", &[("axis", 2)]);
        graph.node("Concat", &scores, "logits", &[("axis", 2)]);
        graph.node("Sigmoid", &["logits".to_owned()], "scores", &[]);
        graph.reshape("boxes", "bins", &[self.batch, 4, BINS, cells]);
        self.shares_of_bins(&mut graph);
        graph.floats("dfl", &[1, BINS, 1, 1], (0..BINS).map(|bin| bin as f32).collect());
        graph.node("Conv", &["shares".to_owned(), "dfl".to_owned()], "means", &[]);
        graph.reshape("means", "distances", &[self.batch, 4, cells]);
        self.boxes_from_distances(&mut graph, cells);
        let mut ends = vec!["pixels".to_owned(), "scores".to_owned()];
        if !extras.is_empty() {
            graph.node("Concat", &extras, "extras", &[("axis", 2)]);
            ends.push("extras".to_owned());
        }
        graph.node("Concat", &ends, "output0", &[("axis", 1)]);
        let rows = 4 + self.classes + self.extras;
        let input = [self.batch, 3, self.height, self.width];
        let mut model = graph.finish(&input, &[self.batch, rows, cells]);
        set_opset(&mut model, self.opset);
        model
    }

    /// The softmax over bins `[batch, 4, 16, cells]`, as `[batch, 16, 4, cells]`.
    fn shares_of_bins(&self, graph: &mut Builder) {
        if self.opset >= 13 {
            graph.transpose("bins", "bins_first", &[0, 2, 1, 3]);
            graph.node("Softmax", &["bins_first".to_owned()], "shares", &[("axis", 1)]);
            return;
        }
        // Before, it is over all axes from the given one, so exporters take the last.
        graph.transpose("bins", "bins_last", &[0, 3, 1, 2]);
        graph.node("Softmax", &["bins_last".to_owned()], "shares_last", &[("axis", 3)]);
        graph.transpose("shares_last", "shares", &[0, 3, 2, 1]);
    }

    /// A chain of convolutions that halve the picture; gives the tensor of each level.
    fn trunk(&self, graph: &mut Builder) -> Vec<String> {
        let (mut tensor, mut channels, mut stride) = ("images".to_owned(), 3, 1);
        let mut levels = Vec::new();
        while stride < self.strides.iter().copied().max().unwrap_or(1) {
            stride *= 2;
            let (conv, activated) = (format!("conv{stride}"), format!("level{stride}"));
            graph.conv(&conv, &tensor, [CHANNELS, channels, 3, 3], 2.0, 0.0, 2);
            graph.node("Tanh", &[conv], &activated, &[]);
            if self.strides.contains(&stride) {
                levels.push(activated.clone());
            }
            (tensor, channels) = (activated, CHANNELS);
        }
        levels
    }

    /// From distances to centre and size in pixels, with the anchors as constants.
    fn boxes_from_distances(&self, graph: &mut Builder, cells: i64) {
        let (mut x, mut y, mut strides) = (Vec::new(), Vec::new(), Vec::new());
        for &stride in &self.strides {
            for row in 0..self.height / stride {
                for column in 0..self.width / stride {
                    x.push(column as f32 + 0.5);
                    y.push(row as f32 + 0.5);
                    strides.push(stride as f32);
                }
            }
        }
        x.append(&mut y);
        graph.floats("anchors", &[1, 2, cells], x);
        graph.floats("strides", &[1, cells], strides);
        graph.floats("two", &[], vec![2.0]);
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let sides = ["before", "behind"];
        if self.opset >= 13 {
            graph.integers("halves", &[2, 2]);
            graph.nodes("Split", &names(&["distances", "halves"]), &sides, &[("axis", 1)]);
        } else {
            graph.nodes("Split", &names(&["distances"]), &sides, &[("axis", 1)]);
            graph.list("split", vec![2, 2]);
        }
        graph.node("Sub", &names(&["anchors", "before"]), "start", &[]);
        graph.node("Add", &names(&["anchors", "behind"]), "end", &[]);
        graph.node("Add", &names(&["start", "end"]), "sum", &[]);
        graph.node("Div", &names(&["sum", "two"]), "centre", &[]);
        graph.node("Sub", &names(&["end", "start"]), "size", &[]);
        graph.node("Concat", &names(&["centre", "size"]), "cell_boxes", &[("axis", 1)]);
        graph.node("Mul", &names(&["cell_boxes", "strides"]), "pixels", &[]);
    }
}

/// A graph that is made node by node, with the input `images`.
#[derive(Clone, Default)]
pub(crate) struct Builder {
    pub(crate) graph: GraphProto,
    state: u64,
}

impl Builder {
    pub(crate) fn node(
        &mut self,
        op_type: &str,
        inputs: &[String],
        output: &str,
        integers: &[(&str, i64)],
    ) {
        self.nodes(op_type, inputs, &[output], integers);
    }

    pub(crate) fn nodes(
        &mut self,
        op_type: &str,
        inputs: &[String],
        outputs: &[&str],
        integers: &[(&str, i64)],
    ) {
        let attribute = |&(name, value): &(&str, i64)| integer(name, value);
        self.graph.node.push(NodeProto {
            op_type: Some(op_type.to_owned()),
            input: inputs.to_vec(),
            output: outputs.iter().map(|&output| output.to_owned()).collect(),
            attribute: integers.iter().map(attribute).collect(),
            ..NodeProto::default()
        });
    }

    fn list(&mut self, name: &str, values: Vec<i64>) {
        let node = self.graph.node.last_mut().unwrap();
        node.attribute.push(AttributeProto {
            name: Some(name.to_owned()),
            r#type: Some(AttributeType::Ints as i32),
            ints: values,
            ..AttributeProto::default()
        });
    }

    fn transpose(&mut self, input: &str, output: &str, order: &[i64]) {
        self.node("Transpose", &[input.to_owned()], output, &[]);
        self.list("perm", order.to_vec());
    }

    pub(crate) fn reshape(&mut self, input: &str, output: &str, shape: &[i64]) -> String {
        let constant = format!("{output}_shape");
        self.integers(&constant, shape);
        self.node("Reshape", &[input.to_owned(), constant], output, &[]);
        output.to_owned()
    }

    /// A convolution with pseudo-random weights up to `gain` over the root of what it sums.
    pub(crate) fn conv(
        &mut self,
        name: &str,
        input: &str,
        dims: [i64; 4],
        gain: f32,
        bias: f32,
        step: i64,
    ) {
        let [weights, biases] = ["weight", "bias"].map(|what| format!("{name}.{what}"));
        let scale = gain / ((dims[1] * dims[2] * dims[3]) as f32).sqrt();
        let values = (0..dims.iter().product()).map(|_| self.random() * scale).collect();
        self.floats(&weights, &dims, values);
        self.floats(&biases, &[dims[0]], vec![bias; dims[0] as usize]);
        self.node("Conv", &[input.to_owned(), weights, biases], name, &[]);
        self.list("strides", vec![step; 2]);
        self.list("pads", vec![dims[2] / 2; 4]);
    }

    /// From −1 to 1, the same each time (a linear congruential generator).
    fn random(&mut self) -> f32 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.state >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn floats(&mut self, name: &str, dims: &[i64], values: Vec<f32>) {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, dims, FLOAT32, raw);
    }

    pub(crate) fn integers(&mut self, name: &str, values: &[i64]) {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, &[values.len() as i64], INT64, raw);
    }

    fn tensor(&mut self, name: &str, dims: &[i64], data_type: i32, raw: Vec<u8>) {
        self.graph.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            dims: dims.to_vec(),
            data_type: Some(data_type),
            raw_data: Some(raw.into()),
            ..TensorProto::default()
        });
    }

    pub(crate) fn finish(mut self, input: &[i64], output: &[i64]) -> OnnxModel {
        self.graph.name = Some("tiny".to_owned());
        self.graph.input.push(info("images", input, FLOAT32));
        self.graph.output.push(info("output0", output, FLOAT32));
        let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(17) };
        let proto = ModelProto {
            ir_version: Some(8),
            opset_import: vec![opset],
            graph: Some(self.graph),
            ..ModelProto::default()
        };
        OnnxModel { proto }
    }
}

/// An attribute of a node.
pub(crate) fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..AttributeProto::default()
    }
}

/// A graph with an input `images` whose outputs are the same for each picture.
pub(crate) fn constant(input: &[i64], outputs: &[(&str, &[i64], Vec<f32>)]) -> OnnxModel {
    constant_beside(Builder::default(), input, outputs)
}

/// As [`constant`], with the nodes of `builder` beside.
pub(crate) fn constant_beside(
    mut builder: Builder,
    input: &[i64],
    outputs: &[(&str, &[i64], Vec<f32>)],
) -> OnnxModel {
    for (name, shape, values) in outputs {
        let constant = format!("{name}_values");
        builder.floats(&constant, shape, values.clone());
        builder.node("Identity", &[constant], name, &[]);
    }
    let mut model = builder.finish(input, &[]);
    let graph = graph(&mut model);
    graph.output = outputs.iter().map(|(name, shape, _)| info(name, shape, FLOAT32)).collect();
    model
}

/// An input or output of fixed shape.
pub(crate) fn info(name: &str, shape: &[i64], data_type: i32) -> ValueInfoProto {
    let dim = shape.iter().map(|&size| dimension(Value::DimValue(size))).collect();
    let shape = Some(TensorShapeProto { dim });
    let tensor = Tensor { elem_type: Some(data_type), shape };
    let r#type = TypeProto { value: Some(TypeValue::TensorType(tensor)), denotation: None };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(r#type),
        ..ValueInfoProto::default()
    }
}

fn dimension(value: Value) -> Dimension {
    Dimension { value: Some(value), denotation: None }
}

fn tensor_of(info: &mut ValueInfoProto) -> &mut Tensor {
    match info.r#type.as_mut().and_then(|info| info.value.as_mut()) {
        Some(TypeValue::TensorType(tensor)) => tensor,
        other => panic!("no tensor but {other:?}"),
    }
}

/// Names the dimensions of an input or output that are not to be fixed: `None` leaves one as it is.
pub(crate) fn make_dynamic(info: &mut ValueInfoProto, names: &[Option<&str>]) {
    let shape = tensor_of(info).shape.as_mut().unwrap();
    for (dim, name) in shape.dim.iter_mut().zip(names) {
        if let Some(name) = name {
            *dim = dimension(Value::DimParam((*name).to_owned()));
        }
    }
}

/// Fixes the first dimensions of an input or output.
pub(crate) fn fix_dimensions(info: &mut ValueInfoProto, sizes: &[i64]) {
    let shape = tensor_of(info).shape.as_mut().unwrap();
    for (dim, size) in shape.dim.iter_mut().zip(sizes) {
        *dim = dimension(Value::DimValue(*size));
    }
}

pub(crate) fn set_element_type(info: &mut ValueInfoProto, data_type: i32) {
    tensor_of(info).elem_type = Some(data_type);
}

/// Removes the declared shape of an output.
pub(crate) fn forget_shape(info: &mut ValueInfoProto) {
    tensor_of(info).shape = None;
}

pub(crate) fn set_metadata(model: &mut OnnxModel, key: &str, value: &str) {
    model.proto.metadata_props.retain(|entry| entry.key() != key);
    let (key, value) = (Some(key.to_owned()), Some(value.to_owned()));
    model.proto.metadata_props.push(StringStringEntryProto { key, value });
}

/// Declares the version of the operators.
pub(crate) fn set_opset(model: &mut OnnxModel, version: i64) {
    model.proto.opset_import[0].version = Some(version);
}

pub(crate) fn graph(model: &mut OnnxModel) -> &mut GraphProto {
    model.proto.graph.as_mut().unwrap()
}

/// Every constant, as an initialiser or as the value of a `Constant` node.
pub(crate) fn constants(graph: &mut GraphProto) -> impl Iterator<Item = &mut TensorProto> {
    let of_nodes = graph.node.iter_mut().filter(|node| node.op_type() == "Constant");
    let of_nodes = of_nodes.flat_map(|node| &mut node.attribute).filter_map(|a| a.t.as_mut());
    graph.initializer.iter_mut().chain(of_nodes)
}

/// The 64-bit integers of a tensor, and a way to change them.
pub(crate) fn change_integers(tensor: &mut TensorProto, change: impl Fn(&mut Vec<i64>)) {
    if tensor.data_type() != INT64 {
        return;
    }
    let mut values = if tensor.int64_data.is_empty() {
        let raw = tensor.raw_data().to_vec();
        raw.as_chunks::<8>().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()
    } else {
        std::mem::take(&mut tensor.int64_data)
    };
    change(&mut values);
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor.raw_data = Some(raw.into());
}
