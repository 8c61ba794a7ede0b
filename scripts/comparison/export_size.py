"""Changes an ordinary YOLOv8 export, which takes one size only, to another size.

As `libs/detector/src/onnx/at_size.rs` does for `spotter bench`: the anchors of the cells, their strides and
their number are constants of the graph, which are replaced; everything else stays.
"""

from __future__ import annotations

from pathlib import Path


class NotAPlainExport(Exception):
    """The file is not a plain YOLOv8 export of one size."""


def change_size(source: Path, target: Path, width: int, height: int) -> None:
    """Write the model for pictures of `width` × `height` pixels, multiples of its largest stride."""
    import onnx

    model = onnx.load(source)
    graph = model.graph
    image = graph.input[0].type.tensor_type.shape.dim
    old_height, old_width = image[2].dim_value, image[3].dim_value
    constants = list(constants_of(graph))
    levels = strides_of(constants)
    before = cells(levels, old_width, old_height)
    after = cells(levels, width, height)
    for tensor in constants:
        rewrite(tensor, before, after)
    image[2].dim_value, image[3].dim_value = height, width
    for dimension in graph.output[0].type.tensor_type.shape.dim:
        if dimension.dim_value == len(before[1]):
            dimension.dim_value = len(after[1])
    # The declared shapes of inner tensors are those of the old size.
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def constants_of(graph):
    yield from graph.initializer
    for node in graph.node:
        if node.op_type == "Constant":
            yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def strides_of(constants) -> list[float]:
    """The strides of the levels, in the order of their cells, from the constant with one value for each cell."""
    from onnx import numpy_helper

    for tensor in constants:
        if len(tensor.dims) == 2 and tensor.dims[0] == 1 and tensor.dims[1] > 1:
            strides = list(dict.fromkeys(numpy_helper.to_array(tensor)[0].tolist()))
            if all(stride >= 1 for stride in strides):
                return strides
    raise NotAPlainExport("the ordinary export has no constant with a stride for each cell: is it of YOLOv8?")


def cells(levels: list[float], width: int, height: int):
    """The centres of the cells in units of their strides, all x and all y, and the strides in pixels."""
    import numpy

    columns, rows, strides = [], [], []
    for stride in levels:
        y, x = numpy.mgrid[0 : int(height / stride), 0 : int(width / stride)]
        columns.append(x.ravel() + 0.5)
        rows.append(y.ravel() + 0.5)
        strides.append(numpy.full(x.size, stride))
    anchors = numpy.stack([numpy.concatenate(columns), numpy.concatenate(rows)])
    return anchors.astype(numpy.float32), numpy.concatenate(strides).astype(numpy.float32)


def rewrite(tensor, before, after) -> None:
    from onnx import numpy_helper

    count = len(before[1])
    values = numpy_helper.to_array(tensor)
    if values.dtype.kind == "i" and count in values:
        # A shape with the number of cells in it.
        values = values.copy()
        values[values == count] = len(after[1])
    elif list(tensor.dims) == [1, 2, count]:
        values = after[0][None]
    elif list(tensor.dims) == [1, count]:
        values = after[1][None]
    else:
        return
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
