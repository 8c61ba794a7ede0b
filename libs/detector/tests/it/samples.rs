//! A small export of each family: a real graph that gives one object for each picture of a batch, whatever the picture.

use detector::{families::HeadKind, onnx::OnnxModel};

use crate::graphs::{Builder, FLOAT32, INT64, graph, info, set_metadata, set_opset};

/// How an export is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Export {
    pub(crate) opset: i64,
    pub(crate) batch: i64,
    pub(crate) classes: usize,
    /// Sides of the input in pixels, multiples of 64.
    pub(crate) height: i64,
    pub(crate) width: i64,
}

impl Default for Export {
    fn default() -> Self {
        Self { opset: 17, batch: 1, classes: 3, height: 64, width: 128 }
    }
}

/// The score of the object, which is of the last class.
pub(crate) const SCORE: f32 = 0.75;
/// Its logit.
const LOGIT: f32 = 1.098_612_3;
/// Left, top, right and bottom edge of its box in parts of the picture: in the right half, where no offset within a grid is.
pub(crate) const BOX: [f32; 4] = [0.5, 0.25, 0.75, 0.75];
/// The same as centre and size.
const AROUND: [f32; 4] = [0.625, 0.5, 0.25, 0.5];
/// The boxes of a family that does not give one for each cell.
const BOXES: usize = 20;

impl Export {
    /// An export of the family `head`.
    pub(crate) fn of(self, head: HeadKind) -> OnnxModel {
        let mut graph = Builder::default();
        self.zeros(&mut graph);
        match head.name() {
            "nms-rows" => self.rows_of_the_batch(&mut graph),
            "rt-detr" => self.ranked_boxes(&mut graph),
            "rt-detr-transformers" => {
                self.queries(&mut graph, ["logits", "pred_boxes"], self.classes);
            }
            "rf-detr" => self.queries(&mut graph, ["labels", "dets"], self.classes + 1),
            _ => {
                let rows = self.rows(head);
                self.output(&mut graph, "output0", rows);
            }
        }
        if lowest_opset(head) == WITH_GRID_SAMPLE && head != HeadKind::RT_DETR {
            deformable_attention(&mut graph);
        }
        self.finish(graph, head)
    }

    /// The side of the box, the box or the centre and size in pixels.
    fn pixels(self, parts: [f32; 4]) -> [f32; 4] {
        let [width, height] = [self.width as f32, self.height as f32];
        let [a, b, c, d] = parts;
        [a * width, b * height, c * width, d * height]
    }

    /// The rows of a family with one output `[batch, boxes, values]`.
    fn rows(self, head: HeadKind) -> Rows {
        let class = (self.classes - 1) as f32;
        // The score that there is an object, and those of the classes.
        let product = |values: [f32; 4]| {
            let [object, of_class] = [0.9375, SCORE / 0.9375];
            [&values[..], &[object], &self.one_of(self.classes, of_class)].concat()
        };
        let centre = self.pixels(AROUND);
        let (cells, stride) = (self.cells(), 8.0);
        let column_and_line = [centre[0] / stride, centre[1] / stride];
        match head.name() {
            "yolov5" => Rows::of(3 * cells, 10, &product(centre)),
            "yolov7-one-class" => Rows::of(3 * cells, 10, &[&centre[..], &[SCORE, 0.5]].concat()),
            "yolox-decoded" => Rows::of(cells, 10, &product(centre)),
            "yolox" => {
                let place = column_and_line[1] as usize * (self.width / 8) as usize;
                let sizes = [centre[2], centre[3]].map(|side| (side / stride).ln());
                let values = product([0.0, 0.0, sizes[0], sizes[1]]);
                Rows::of(cells, place + column_and_line[0] as usize, &values)
            }
            "end-to-end" => {
                let corners = self.pixels(BOX);
                Rows::of(BOXES, 0, &[&corners[..], &[SCORE, class]].concat())
            }
            "rt-detr-ultralytics" => {
                let scores = self.one_of(self.classes, SCORE);
                // A sigmoid is never 0.
                let mut rows = Rows::of(BOXES, 2, &[&AROUND[..], &scores].concat());
                rows.values.iter_mut().filter(|v| **v == 0.0).for_each(|value| *value = 0.01);
                rows
            }
            "rt-detr-ultralytics-ranked" => {
                Rows::of(BOXES, 0, &[&AROUND[..], &[SCORE, class]].concat())
            }
            other => panic!("{other} has other outputs"),
        }
    }

    /// Logits and boxes of queries, of which the third has the object.
    fn queries(self, graph: &mut Builder, [logits, boxes]: [&str; 2], columns: usize) {
        let mut all = Rows { columns, values: vec![-9.0; BOXES * columns] };
        all.values[2 * columns + self.classes - 1] = LOGIT;
        self.output(graph, logits, all);
        self.output(graph, boxes, Rows::of(BOXES, 2, &AROUND));
    }

    /// What non-maximum suppression leaves: a row for each picture of the batch.
    fn rows_of_the_batch(self, graph: &mut Builder) {
        let class = (self.classes - 1) as f32;
        let of_picture =
            |picture: i64| [&[picture as f32][..], &self.pixels(BOX), &[class, SCORE]].concat();
        let values: Vec<f32> = (0..self.batch).flat_map(of_picture).collect();
        graph.floats("rows", &[self.batch, 7], values);
        graph.node("Identity", &["rows".to_owned()], "output", &[]);
        graph.graph.output.push(info("output", &[self.batch, 7], FLOAT32));
    }

    /// Labels, boxes scaled to the size in an input, and scores.
    fn ranked_boxes(self, graph: &mut Builder) {
        let names = |names: [&str; 2]| names.map(str::to_owned);
        graph.node("Concat", &names([SIZES, SIZES]), "sides", &[("axis", 1)]);
        graph.node("Cast", &["sides".to_owned()], "sides_of_floats", &[("to", FLOAT32.into())]);
        graph.reshape("sides_of_floats", "scale", &[-1, 1, 4]);
        self.plus_zeros(graph, "parts", Rows::of(BOXES, 0, &BOX));
        graph.node("Mul", &names(["parts", "scale"]), "boxes", &[]);
        graph.graph.output.push(info("boxes", &[self.batch, BOXES as i64, 4], FLOAT32));
        let class = (self.classes - 1) as f32;
        for (name, value) in [("classes", class), ("best", SCORE)] {
            self.plus_zeros(graph, name, Rows::of(BOXES, 0, &[value]));
        }
        graph.reshape("best", "scores", &[self.batch, BOXES as i64]);
        graph.reshape("classes", "class_numbers", &[self.batch, BOXES as i64]);
        graph.node("Cast", &["class_numbers".to_owned()], "labels", &[("to", INT64.into())]);
        for (name, element) in [("scores", FLOAT32), ("labels", INT64)] {
            graph.graph.output.push(info(name, &[self.batch, BOXES as i64], element));
        }
    }

    /// An output `[batch, boxes, values]`.
    fn output(self, graph: &mut Builder, name: &str, rows: Rows) {
        let shape = [self.batch, rows.count(), rows.columns as i64];
        self.plus_zeros(graph, name, rows);
        graph.graph.output.push(info(name, &shape, FLOAT32));
    }

    /// A zero for each picture, `[batch, 1, 1]`: what is added to it is the same for each, but has the batch of the input.
    /// It is reshaped to a constant shape, as exporters with a fixed batch write it.
    fn zeros(self, graph: &mut Builder) {
        graph.node("GlobalAveragePool", &["images".to_owned()], "means", &[]);
        graph.conv("zero_convolution", "means", [1, 3, 1, 1], 0.0, 0.0, 1);
        graph.reshape("zero_convolution", "zeros", &[self.batch, 1, 1]);
    }

    fn plus_zeros(self, graph: &mut Builder, name: &str, rows: Rows) {
        let constant = format!("{name}_values");
        graph.floats(&constant, &[1, rows.count(), rows.columns as i64], rows.values);
        graph.node("Add", &[constant, "zeros".to_owned()], name, &[]);
    }

    /// Zeros but for the last of `count`.
    fn one_of(self, count: usize, value: f32) -> Vec<f32> {
        let mut values = vec![0.0; count];
        values[count - 1] = value;
        values
    }

    /// The cells of levels of 8, 16 and 32 pixels.
    fn cells(self) -> usize {
        let cells = [8, 16, 32].map(|stride| (self.height / stride) * (self.width / stride));
        cells.iter().sum::<i64>() as usize
    }

    fn finish(self, graph_of: Builder, head: HeadKind) -> OnnxModel {
        let outputs = graph_of.graph.output.clone();
        let mut model = graph_of.finish(&[self.batch, 3, self.height, self.width], &[]);
        let graph = graph(&mut model);
        graph.output = outputs;
        if head == HeadKind::RT_DETR {
            graph.input.push(info(SIZES, &[self.batch, 2], INT64));
        }
        set_opset(&mut model, self.opset);
        if head == HeadKind::YOLOV5 {
            set_metadata(&mut model, "stride", "32");
        }
        let names: Vec<String> =
            (0..self.classes).map(|class| format!("'{}'", label(class))).collect();
        set_metadata(&mut model, "names", &format!("[{}]", names.join(", ")));
        model
    }
}

/// The input for the size of the picture.
const SIZES: &str = "orig_target_sizes";
/// The first opset with deformable attention's operator.
const WITH_GRID_SAMPLE: i64 = 16;

/// The name of a class.
pub(crate) fn label(class: usize) -> String {
    format!("thing {class}")
}

/// A number of classes that exports of a family can have.
pub(crate) fn usual_classes(head: HeadKind) -> usize {
    if head == HeadKind::YOLOV7_ONE_CLASS { 1 } else { 3 }
}

/// The lowest opset that exports of a family can have, 11 at least.
pub(crate) fn lowest_opset(head: HeadKind) -> i64 {
    let has_queries = head.name().starts_with("rt-detr") || head == HeadKind::RF_DETR;
    if has_queries { WITH_GRID_SAMPLE } else { 11 }
}

/// The operators that families with queries are recognised by; their results are not used.
pub(crate) fn deformable_attention(graph: &mut Builder) {
    graph.floats("nothing", &[1, 1, 1, 2], vec![0.0; 2]);
    graph.integers("one", &[1]);
    let names = |names: [&str; 2]| names.map(str::to_owned);
    graph.node("GridSample", &names(["nothing", "nothing"]), "sampled", &[]);
    graph.nodes("TopK", &names(["nothing", "one"]), &["best_values", "places"], &[]);
}

/// Rows of zeros but for one.
struct Rows {
    columns: usize,
    values: Vec<f32>,
}

impl Rows {
    fn of(count: usize, place: usize, row: &[f32]) -> Self {
        let mut values = vec![0.0; count * row.len()];
        values[place * row.len()..][..row.len()].copy_from_slice(row);
        Self { columns: row.len(), values }
    }

    fn count(&self) -> i64 {
        (self.values.len() / self.columns) as i64
    }
}
