"""A small RF-DETR with random weights, built, exported and run by its own package, rfdetr."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import nn

from families.exports import CLASSES, SIDE, Case, Rows, loosen, spread

CONFIDENCE = 0.3
QUERIES = 60
# The logit that stands for no class, which a trained model keeps low: the best pairs are taken among all logits.
NO_CLASS = -20.0


def rf_detr(pictures: list[Path]):
    from rfdetr import RFDETRNano

    torch.manual_seed(0)
    detector = RFDETRNano(
        pretrain_weights=None,
        num_classes=CLASSES,
        resolution=SIDE,
        num_queries=QUERIES,
        num_select=QUERIES,
        group_detr=1,
        device="cpu",
    )
    network = detector.model.model.eval()
    loosen(network)
    batch = torch.cat([prepared(picture) for picture in pictures])
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    spread(network, batch, [layer for layer in linear if layer.out_features == CLASSES + 1], 1.5, -2.0)
    with torch.no_grad():
        network.class_embed.weight[-1] = 0
        network.class_embed.bias[-1] = NO_CLASS
    return detector


def prepared(picture: Path) -> torch.Tensor:
    """The input of the model, as `RFDETR.predict` makes it."""
    from rfdetr import RFDETR
    from torchvision.transforms import functional

    tensor = functional.to_tensor(Image.open(picture).convert("RGB"))
    tensor = functional.resize(tensor, [SIDE, SIDE], antialias=False)
    return functional.normalize(tensor, RFDETR.means, RFDETR.stds).unsqueeze(0)


def by_rfdetr(folder: Path, pictures: list[Path]) -> Case:
    detector = rf_detr(pictures)
    path = Path(detector.export(output_dir=str(folder), verbose=False))
    labels = [f"thing {number}" for number in range(CLASSES)]
    names = folder / "names.txt"
    names.write_text("\n".join(labels))

    def reference(picture: Path) -> Rows:
        found = detector.predict(Image.open(picture).convert("RGB"), threshold=CONFIDENCE)
        return list(zip(found.class_id.tolist(), found.confidence.tolist(), found.xyxy.tolist(), strict=True))

    def inputs(picture: Path) -> dict:
        return {"input": prepared(picture).numpy()}

    return Case("rf-detr", path, reference, CONFIDENCE, inputs, ["--labels", str(names)], labels)


CASES = {"rf-detr": by_rfdetr}
