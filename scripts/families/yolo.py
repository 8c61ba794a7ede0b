"""YOLOv5, YOLOv7 and YOLOX, each by a package that is installed without what it requires.

These packages are older than the version of PyTorch: its exporter of their time is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import onnxruntime
import torch
from PIL import Image
from torch import nn

from families.exports import CLASSES, SIDE, Case, Rows, batch_of, fit_batch_normalisation, spread

CONFIDENCE = 0.3
# Spotter's defaults.
IOU, MOST_DETECTIONS = 0.7, 300


def small_network(head: str, classes: int) -> dict:
    """A description of a network with the head of YOLOv5 (`Detect`) or of YOLOv7 (`IDetect`), and YOLOv3's anchors."""
    return {
        "nc": classes,
        "depth_multiple": 1.0,
        "width_multiple": 1.0,
        "anchors": [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]],
        "backbone": [[-1, 1, "Conv", [channels, 3, 2]] for channels in (16, 32, 32, 64, 64)],
        "head": [[[2, 3, 4], 1, head, ["nc", "anchors"]]],
    }


def vary(model: nn.Module, batch: torch.Tensor, last: list[nn.Module]) -> None:
    """Lets scores and boxes be as varied as those of a trained model: `last` are the layers that give them."""
    for layer in last:
        # Before training, they make objects rare.
        nn.init.zeros_(layer.bias)
    spread(model, batch, last, 1.2, -0.3)


def traced(model: nn.Module, path: Path, opset: int, output: str) -> None:
    example = torch.zeros(1, 3, SIDE, SIDE)
    names = {"input_names": ["images"], "output_names": [output]}
    torch.onnx.export(model, (example,), path, opset_version=opset, dynamo=False, **names)


def has_whole_padding(picture: Path) -> bool:
    """Whether the padding is a whole number of pixels on each side. Otherwise these packages move boxes by its fraction
    as well, though not the picture."""
    width, height = Image.open(picture).size
    gain = SIDE / max(width, height)
    return all(((SIDE - side * gain) / 2).is_integer() for side in (width, height))


def letterboxed(letterbox: Callable) -> Callable[[Path], dict]:
    def inputs(picture: Path) -> dict:
        padded = letterbox(cv2.imread(str(picture)), SIDE, auto=False)[0]
        tensor = np.ascontiguousarray(padded[..., ::-1].transpose(2, 0, 1), np.float32)[None] / 255
        return {"images": tensor}

    return inputs


def of_anchors(inputs: Callable, model: nn.Module, suppress: Callable, scale: Callable) -> Callable[[Path], Rows]:
    """What YOLOv5 and YOLOv7 find."""

    def reference(picture: Path) -> Rows:
        with torch.no_grad():
            found = model(torch.from_numpy(inputs(picture)["images"]))[0]
        rows = suppress(found, CONFIDENCE, IOU)[0]
        boxes = scale((SIDE, SIDE), rows[:, :4], cv2.imread(str(picture)).shape)
        return list(zip(rows[:, 5].int().tolist(), rows[:, 4].tolist(), boxes.tolist(), strict=True))

    return reference


def yolov5(folder: Path, pictures: list[Path]) -> Case:
    from yolov5 import export
    from yolov5.models.yolo import DetectionModel
    from yolov5.utils.augmentations import letterbox
    from yolov5.utils.general import non_max_suppression, scale_boxes

    torch.manual_seed(0)
    model = DetectionModel(small_network("Detect", CLASSES)).eval()
    head = model.model[-1]
    batch = batch_of(pictures)
    fit_batch_normalisation(model, batch)
    vary(model, batch, list(head.m))
    head.export = True
    path = folder / "yolov5.onnx"
    by_tracing = functools.partial(torch.onnx.export, dynamo=False)
    with mock.patch.object(torch.onnx, "export", by_tracing):
        export.export_onnx(model, torch.zeros(1, 3, SIDE, SIDE), path, opset=17, dynamic=False, simplify=False)
    head.export = False
    inputs = letterboxed(letterbox)
    reference = of_anchors(inputs, model, non_max_suppression, scale_boxes)
    return Case("yolov5", path, reference, CONFIDENCE, inputs, covers=has_whole_padding)


def by_yolov7(name: str, *, suppressed: bool = False, classes: int = CLASSES):
    def make(folder: Path, pictures: list[Path]) -> Case:
        from yolov7_package.models.experimental import End2End
        from yolov7_package.models.yolo import Model
        from yolov7_package.utils.datasets import letterbox
        from yolov7_package.utils.general import non_max_suppression, scale_coords

        torch.manual_seed(0)
        model = Model(small_network("IDetect", classes)).eval().requires_grad_(False)
        batch = batch_of(pictures)
        fit_batch_normalisation(model, batch)
        model.fuse()
        vary(model, batch, list(model.model[-1].m))
        inputs = letterboxed(letterbox)
        reference = of_anchors(inputs, model, non_max_suppression, scale_coords)
        path = folder / f"{name}.onnx"
        found = {picture: reference(picture) for picture in pictures}
        # What its export.py does with --grid, and with --end2end --max-wh.
        if suppressed:
            model.model[-1].end2end = True
            whole = End2End(model, max_obj=MOST_DETECTIONS, iou_thres=IOU, score_thres=CONFIDENCE, max_wh=SIDE)
            traced(whole.eval(), path, 12, "output")
        else:
            model.model[-1].concat = True
            traced(model, path, 12, "output")
        options, labels = named(folder, classes)
        return Case(name, path, found.__getitem__, CONFIDENCE, inputs, options, labels, covers=has_whole_padding)

    return make


def by_yolox(name: str, *, decoded: bool):
    def make(folder: Path, pictures: list[Path]) -> Case:
        from yolox.data.data_augment import preproc
        from yolox.models import YOLOPAFPN, YOLOX, YOLOXHead
        from yolox.models.network_blocks import SiLU
        from yolox.utils import demo_postprocess, postprocess, replace_module

        torch.manual_seed(0)
        model = YOLOX(YOLOPAFPN(0.33, 0.25), YOLOXHead(CLASSES, 0.25)).eval()
        head, batch = model.head, batch_of(pictures) * 255
        fit_batch_normalisation(model, batch)
        vary(model, batch, [*head.cls_preds, *head.obj_preds])
        # Offsets in the grid stay small also on the noise that spotter runs a model on.
        spread(model, batch, list(head.reg_preds), 0.3, 0.5)
        # What its export_onnx.py does, with --decode_in_inference or without.
        model = replace_module(model, nn.SiLU, SiLU)
        head.decode_in_inference = decoded
        path = folder / f"{name}.onnx"
        traced(model, path, 11, "output")
        session = onnxruntime.InferenceSession(path)

        def inputs(picture: Path) -> dict:
            return {"images": preproc(cv2.imread(str(picture)), (SIDE, SIDE))[0][None]}

        def reference(picture: Path) -> Rows:
            output = session.run(None, inputs(picture))[0]
            boxes = output if decoded else demo_postprocess(output, (SIDE, SIDE))
            rows = postprocess(torch.from_numpy(boxes), CLASSES, CONFIDENCE, IOU)[0][:MOST_DETECTIONS]
            height, width = cv2.imread(str(picture)).shape[:2]
            ratio = min(SIDE / height, SIDE / width)
            boxes = (rows[:, :4] / ratio).clamp(min=0).minimum(torch.tensor([width, height] * 2))
            scores = rows[:, 4] * rows[:, 5]
            return list(zip(rows[:, 6].int().tolist(), scores.tolist(), boxes.tolist(), strict=True))

        options, labels = named(folder, CLASSES)
        return Case(name, path, reference, CONFIDENCE, inputs, options, labels)

    return make


def named(folder: Path, classes: int) -> tuple[list[str], list[str]]:
    """The options that name the classes of a file without metadata, and the names."""
    labels = [f"thing {number}" for number in range(classes)]
    names = folder / "names.txt"
    names.write_text("\n".join(labels))
    return ["--labels", str(names)], labels


CASES: dict[str, Callable[[Path, list[Path]], Case]] = {
    "yolov5": yolov5,
    "yolov7": by_yolov7("yolov7"),
    "yolov7-one-class": by_yolov7("yolov7-one-class", classes=1),
    "yolov7-end2end": by_yolov7("yolov7-end2end", suppressed=True),
    "yolox": by_yolox("yolox", decoded=False),
    "yolox-decoded": by_yolox("yolox-decoded", decoded=True),
}
