//! The number of classes of a graph that gives its best pairs of a box and a class.

use super::{
    graph::{GraphIndex, integer_values},
    model::OnnxModel,
};

/// The number by which the places of the best scores are divided: that of the classes, which lie one after another for each
/// box. The last `TopK` node counts.
#[must_use]
pub fn ranked_classes(model: &OnnxModel) -> Option<usize> {
    let graph = model.proto.graph.as_ref()?;
    let index = GraphIndex::new(graph);
    graph.node.iter().rev().filter(|node| matches!(node.op_type(), "Div" | "Mod")).find_map(
        |node| {
            let [places, divisor] = &node.input[..] else { return None };
            let best = index.node(index.producer(places)?);
            if best.op_type() != "TopK" || best.output.get(1) != Some(places) {
                return None;
            }
            match integer_values(index.constant(divisor)?)?[..] {
                [classes] => usize::try_from(classes).ok().filter(|classes| *classes > 0),
                _ => None,
            }
        },
    )
}
