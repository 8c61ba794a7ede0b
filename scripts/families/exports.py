"""Small models with random weights, each exported by its family's own package.

Random weights make all scores alike, so the statistics of batch normalisation and the last layers are fitted to the
pictures: then scores and boxes are as varied as those of a trained model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

# What the pictures are scaled to, and the classes that models have.
SIDE, CLASSES = 160, 5

Rows = list[tuple[int, float, list[float]]]


@dataclass
class Case:
    """An export, and what its reference implementation finds."""

    name: str
    onnx: Path
    reference: Callable[[Path], Rows]
    confidence: float
    # The inputs of the export for a picture.
    inputs: Callable[[Path], dict]
    # Of `spotter model add`.
    options: list[str] = field(default_factory=list)
    labels: list[str] | None = None
    covers: Callable[[Path], bool] = lambda _picture: True


def fit_batch_normalisation(model: nn.Module, batch: torch.Tensor) -> None:
    """Lets every batch normalisation have the statistics of `batch`."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        model(batch)
    model.eval()


def spread(model: nn.Module, batch: torch.Tensor, layers: list[nn.Module], deviation: float, mean: float) -> None:
    """Scales the weights of `layers` until their outputs have this deviation, and shifts them to this mean."""
    for layer in layers:
        seen = []
        hook = layer.register_forward_hook(lambda _module, _inputs, output, seen=seen: seen.append(output.detach()))
        with torch.no_grad():
            model(batch)
            # Some layers are for training only.
            if not seen:
                hook.remove()
                continue
            values = torch.cat([output.flatten() for output in seen])
            factor = deviation / float(values.std().clamp_min(1e-9))
            layer.weight.mul_(factor)
            layer.bias.copy_((layer.bias - values.mean()) * factor + mean)
        hook.remove()


def loosen(model: nn.Module) -> None:
    """Lets the last layers of boxes have weights, which are zero before training: all boxes would be anchors."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer.out_features == 4:
            nn.init.normal_(layer.weight, std=0.1)


def batch_of(pictures: list[Path]) -> torch.Tensor:
    """The pictures, stretched."""
    from torchvision.transforms.functional import to_tensor

    return torch.stack([to_tensor(Image.open(path).convert("RGB").resize((SIDE, SIDE))) for path in pictures])


# Ultralytics


def ultralytics(yaml: str, pictures: list[Path], deviation: float):
    """The network, whose last layers have logits of this standard deviation."""
    from ultralytics import RTDETR, YOLO

    torch.manual_seed(0)
    loaded = (RTDETR if "rtdetr" in yaml else YOLO)(yaml)
    network = type(loaded.model)(yaml, nc=CLASSES, verbose=False)
    network.args, network.task = loaded.model.args, loaded.model.task
    loaded.model, batch = network, batch_of(pictures)
    network.eval()
    fit_batch_normalisation(network, batch)
    head = network.model[-1]
    last = []
    for name in ("cv3", "one2one_cv3"):
        last += [level[-1] for level in getattr(head, name, None) or []]
    if not last:
        last = [head.enc_score_head, *head.dec_score_head]
        loosen(network)
    spread(network, batch, [layer for layer in last if isinstance(layer, (nn.Conv2d, nn.Linear))], deviation, -2.0)
    return loaded


def has_the_same_padding(picture: Path) -> bool:
    """Whether the padding of boxes is that of earlier versions, which spotter follows: it is now computed from the
    rounded side of the scaled picture, which shifts boxes of some pictures by a pixel of the input."""
    width, height = Image.open(picture).size
    gain = SIDE / max(width, height)
    pads = [
        [round((SIDE - scaled) / 2 - 0.1) for scaled in (convert(width * gain), convert(height * gain))]
        for convert in (round, float)
    ]
    return pads[0] == pads[1]


def by_ultralytics(
    yaml: str, name: str, *, task: str = "detect", options: tuple[str, ...] = (), deviation: float = 0.8, **export
):
    def make(folder: Path, pictures: list[Path]) -> Case:
        import cv2
        from ultralytics import RTDETR, YOLO

        loaded = ultralytics(yaml, pictures, deviation)
        loaded.ckpt_path = str(folder / f"{name}.pt")
        loaded.model.pt_path = str(folder / f"{name}.pt")
        file = Path(loaded.export(format="onnx", imgsz=SIDE, verbose=False, **export))
        path = file.rename(folder / f"{name}.onnx")
        confidence = 0.3
        by_onnx = RTDETR(str(path)) if "rtdetr" in yaml else YOLO(str(path), task=task)

        def reference(picture: Path) -> Rows:
            found = by_onnx.predict(picture, imgsz=SIDE, conf=confidence, verbose=False, device="cpu")[0].boxes
            # RT-DETR's are not clipped to the picture.
            boxes = found.xyxy.clamp(min=0).minimum(torch.tensor([*found.orig_shape[::-1]] * 2))
            rows = zip(found.cls.tolist(), found.conf.tolist(), boxes.tolist(), strict=True)
            return [(int(class_id), score, box) for class_id, score, box in rows]

        def inputs(picture: Path) -> dict:
            return {"images": by_onnx.predictor.preprocess([cv2.imread(str(picture))]).numpy()}

        # RT-DETR takes pictures stretched, without padding.
        covers = (lambda _picture: True) if "rtdetr" in yaml else has_the_same_padding
        return Case(name, path, reference, confidence, inputs, list(options), covers=covers)

    return make


# transformers


class LogitsAndBoxes(nn.Module):
    """The outputs that optimum exports."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        found = self.model(pixel_values=pixel_values)
        return found.logits, found.pred_boxes


class Ranked(nn.Module):
    """The outputs of the families' own repositories: their `RTDETRPostProcessor` with `deploy`."""

    def __init__(self, model: nn.Module, classes: int) -> None:
        super().__init__()
        self.model, self.classes = model, classes

    def forward(self, images, orig_target_sizes):
        found = self.model(pixel_values=images)
        x, y, width, height = found.pred_boxes.unbind(-1)
        boxes = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1)
        boxes = boxes * orig_target_sizes.repeat(1, 2).unsqueeze(1)
        scores, index = torch.topk(torch.sigmoid(found.logits).flatten(1), found.logits.shape[1], dim=-1)
        labels = index - index // self.classes * self.classes
        index = index // self.classes
        boxes = boxes.gather(dim=1, index=index.unsqueeze(-1).repeat(1, 1, boxes.shape[-1]))
        return labels, boxes, scores


# Of RT-DETR and of D-FINE, which is built on it.
SMALL_RT_DETR = dict(
    encoder_in_channels=[16, 16, 16],
    encoder_hidden_dim=32,
    encoder_ffn_dim=32,
    encoder_attention_heads=2,
    d_model=32,
    decoder_in_channels=[32, 32, 32],
    decoder_ffn_dim=32,
    decoder_attention_heads=2,
    decoder_layers=2,
    num_queries=60,
    num_labels=CLASSES,
    use_pretrained_backbone=False,
)


def d_fine():
    from transformers import DFineConfig, DFineForObjectDetection, HGNetV2Config

    backbone = HGNetV2Config(
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 16, 16, 16],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[16, 16, 16, 16],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1],
        hidden_sizes=[16, 16, 16, 16],
        depths=[1, 1, 1, 1],
        embedding_size=8,
        out_features=["stage2", "stage3", "stage4"],
    )
    config = DFineConfig(
        backbone_config=backbone,
        depth_mult=0.34,
        **SMALL_RT_DETR,
    )
    return DFineForObjectDetection(config)


def rt_detr():
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        **SMALL_RT_DETR,
    )
    return RTDetrForObjectDetection(config)


def rf_detr():
    from transformers import RfDetrConfig, RfDetrForObjectDetection
    from transformers.models.rf_detr.configuration_rf_detr import RfDetrDinov2Config

    backbone = RfDetrDinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        patch_size=16,
        image_size=SIDE,
        num_windows=1,
        out_indices=[2, 4],
    )
    config = RfDetrConfig(
        backbone_config=backbone, d_model=32, num_queries=60, decoder_ffn_dim=32, num_labels=CLASSES + 1,
        decoder_self_attention_heads=2, decoder_cross_attention_heads=2,
    )
    model = RfDetrForObjectDetection(config)
    for module in model.modules():
        if hasattr(module, "interpolate_pos_encoding"):
            # Of the model's own size. When tracing, an operator that ONNX does not have would be used.
            module.interpolate_pos_encoding = lambda *_, module=module: module.position_embeddings
    return model


def processor(name: str):
    size = {"height": SIDE, "width": SIDE}
    if name.startswith("rf-detr"):
        from transformers import RfDetrImageProcessor

        return RfDetrImageProcessor(size=size)
    # Pillow's resize: torchvision's of bytes differs from it by a level here and there.
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    return RTDetrImageProcessorPil(size=size)


def by_transformers(build: Callable[[], nn.Module], name: str, wrap, inputs: list[str], outputs: list[str]):
    def make(folder: Path, pictures: list[Path]) -> Case:
        torch.manual_seed(0)
        model = build().eval()
        loosen(model)
        prepare, confidence = processor(name), 0.3
        batch = torch.cat(
            [prepare(images=Image.open(path).convert("RGB"), return_tensors="pt")["pixel_values"] for path in pictures]
        )
        fit_batch_normalisation(model, batch)
        is_score = lambda layer: isinstance(layer, nn.Linear) and layer.out_features in {CLASSES, CLASSES + 1}  # noqa: E731
        spread(model, batch, [layer for layer in model.modules() if is_score(layer)], 1.5, -2.0)
        path = folder / f"{name}.onnx"
        example = {"pixel_values": batch[:1], "images": batch[:1]}
        example["orig_target_sizes"] = torch.tensor([[SIDE, SIDE]])
        torch.onnx.export(
            wrap(model).eval(),
            tuple(example[name] for name in inputs),
            path,
            input_names=inputs,
            output_names=outputs,
            opset_version=17,
            dynamo=False,
        )
        labels = [f"thing {number}" for number in range(CLASSES)]
        names = folder / "names.txt"
        names.write_text("\n".join(labels))

        def feeds(picture: Path) -> dict:
            tensor = prepare(images=Image.open(picture).convert("RGB"), return_tensors="np")["pixel_values"]
            sizes = {"orig_target_sizes": np.array([[SIDE, SIDE]])} if len(inputs) > 1 else {}
            return {inputs[0]: tensor, **sizes}

        def reference(picture: Path) -> Rows:
            image = Image.open(picture).convert("RGB")
            with torch.no_grad():
                found = model(**prepare(images=image, return_tensors="pt"))
            if name.startswith("rf-detr"):
                # The last logit stands for no class.
                found.logits = found.logits[..., :CLASSES]
            found = prepare.post_process_object_detection(
                found, threshold=confidence, target_sizes=torch.tensor([image.size[::-1]])
            )[0]
            boxes = found["boxes"].clone()
            boxes[:, 0::2] = boxes[:, 0::2].clamp(0, image.width)
            boxes[:, 1::2] = boxes[:, 1::2].clamp(0, image.height)
            return list(zip(found["labels"].tolist(), found["scores"].tolist(), boxes.tolist(), strict=True))

        return Case(name, path, reference, confidence, feeds, ["--labels", str(names)], labels)

    return make


CASES: dict[str, Callable[[Path, list[Path]], Case]] = {
    "yolov8": by_ultralytics("yolov8n.yaml", "yolov8", options=("--keep-plain",)),
    # Otherwise some scores are exactly 1, and which of their boxes is kept depends on the number of threads.
    "yolo12": by_ultralytics("yolo12n.yaml", "yolo12", options=("--keep-plain",), deviation=0.4),
    "yolo26": by_ultralytics("yolo26n.yaml", "yolo26", options=("--keep-plain",)),
    # False keeps the head that needs none.
    "yolov10-end-to-end": by_ultralytics("yolov10n.yaml", "yolov10-end-to-end", nms=False),
    "yolo26-end-to-end": by_ultralytics("yolo26n.yaml", "yolo26-end-to-end", nms=False),
    "yolo11-nms": by_ultralytics("yolo11n.yaml", "yolo11-nms", nms=True, conf=0.3),
    "yolov8-seg": by_ultralytics("yolov8n-seg.yaml", "yolov8-seg", task="segment"),
    "rt-detr-ultralytics": by_ultralytics("rtdetr-resnet50.yaml", "rt-detr-ultralytics"),
    "d-fine-transformers": by_transformers(
        d_fine, "d-fine-transformers", LogitsAndBoxes, ["pixel_values"], ["logits", "pred_boxes"]
    ),
    "rt-detr-transformers": by_transformers(
        rt_detr, "rt-detr-transformers", LogitsAndBoxes, ["pixel_values"], ["logits", "pred_boxes"]
    ),
    "d-fine": by_transformers(
        d_fine,
        "d-fine",
        lambda model: Ranked(model, CLASSES),
        ["images", "orig_target_sizes"],
        ["labels", "boxes", "scores"],
    ),
    "rf-detr-transformers": by_transformers(
        rf_detr, "rf-detr-transformers", LogitsAndBoxes, ["pixel_values"], ["logits", "pred_boxes"]
    ),
}
