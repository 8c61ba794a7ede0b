"""An export's outputs for one picture, as a small ONNX file that gives them for every picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

# What families are recognised by; their results are not used.
WITNESSES = {"GridSample", "TopK"}


def freeze(case, picture: Path, folder: Path) -> None:
    """Writes NAME.onnx and NAME.json: the outputs for `picture`, and the rows that the reference makes of them."""
    model = onnx.load(case.onnx)
    session = onnxruntime.InferenceSession(case.onnx)
    theirs = case.reference(picture)
    outputs = session.run(None, case.inputs(picture))
    nodes, constants, ends = [], [], []
    for info, values in zip(model.graph.output, outputs, strict=True):
        if values.ndim == 4:
            # Prototypes of masks, of which only the number is read.
            values = np.zeros((*values.shape[:2], 1, 1), values.dtype)
        constants.append(numpy_helper.from_array(values, f"{info.name}_values"))
        nodes.append(helper.make_node("Identity", [f"{info.name}_values"], [info.name]))
        ends.append(helper.make_tensor_value_info(info.name, info.type.tensor_type.elem_type, values.shape))
    operators = {node.op_type for node in model.graph.node}
    ranked = classes_that_places_are_divided_by(model.graph)
    if operators & WITNESSES or ranked:
        constants.append(helper.make_tensor("nothing", TensorProto.FLOAT, [1, 1, 1, 2], [0.0, 0.0]))
        constants.append(helper.make_tensor("one", TensorProto.INT64, [1], [1]))
    if "GridSample" in operators:
        nodes.append(helper.make_node("GridSample", ["nothing", "nothing"], ["sampled"]))
    if "TopK" in operators:
        nodes.append(helper.make_node("TopK", ["nothing", "one"], ["best", "places"]))
    if ranked:
        constants.append(helper.make_tensor("classes", TensorProto.INT64, [], [ranked]))
        nodes.append(helper.make_node("Div", ["places", "classes"], ["boxes_of_places"]))
    graph = helper.make_graph(nodes, case.name, list(model.graph.input), ends, constants)
    frozen = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    kept = {"names", "task", "stride", "imgsz", "end2end"}
    helper.set_model_props(frozen, {entry.key: entry.value for entry in model.metadata_props if entry.key in kept})
    onnx.checker.check_model(frozen)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(frozen, folder / f"{case.name}.onnx")
    rows = [[class_id, round(score, 6), [round(side, 4) for side in box]] for class_id, score, box in theirs]
    expected = {"picture": picture.name, "confidence": case.confidence, "labels": case.labels}
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    text = json.dumps(expected)[:-1] + f', "rows": [\n  {lines}\n]}}\n'
    (folder / f"{case.name}.json").write_text(text)


def classes_that_places_are_divided_by(graph: onnx.GraphProto) -> int | None:
    """The constant by which a graph divides the places of its best scores."""
    places = {node.output[1] for node in graph.node if node.op_type == "TopK"}
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for node in reversed(graph.node):
        if node.op_type in {"Div", "Mod"} and node.input[0] in places and node.input[1] in values:
            return int(values[node.input[1]].item())
    return None
