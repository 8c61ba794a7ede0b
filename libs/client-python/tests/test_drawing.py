"""Boxes and labels in pictures."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageChops

import spotter


def found(label: str, class_id: int, *corners: float) -> spotter.FoundObject:
    x1, y1, x2, y2 = corners
    return spotter.FoundObject(
        label=label, class_id=class_id, confidence=0.5, bbox=spotter.Corners(x1=x1, y1=y1, x2=x2, y2=y2)
    )


def test_each_object_has_a_box_where_it_is(url: str, bus: Path) -> None:
    with spotter.Client(url) as client:
        task = client.detect(bus, classes=["bus"])
    before = Image.open(bus)
    drawn = spotter.draw(bus, task)
    assert (drawn.size, drawn.mode) == (before.size, "RGB")
    changed = ImageChops.difference(drawn, before.convert("RGB")).getbbox()
    assert changed is not None
    corners = task.objects[0].bbox
    left, top, right, bottom = changed
    assert abs(left - corners.x1) <= 4
    assert abs(right - corners.x2) <= 4
    assert abs(bottom - corners.y2) <= 4
    assert corners.y1 - 60 < top <= corners.y1, "the label is above the box"


def test_without_objects_the_picture_is_as_it_was(bus: Path) -> None:
    assert ImageChops.difference(spotter.draw(bus, []), Image.open(bus).convert("RGB")).getbbox() is None


def test_boxes_and_labels_beyond_the_edges_are_drawn_inside() -> None:
    picture = Image.new("L", (90, 40))
    objects = [
        found("far left of all that is there", 0, -50, -50, 20, 20),
        found("a", 5, 60, 5, 500, 500),
        found("outside", 2, 200, 200, 300, 300),
        found("", 1, 30, 30, 30, 30),
    ]
    drawn = spotter.draw(picture, objects)
    assert (drawn.size, drawn.mode) == ((90, 40), "RGB")
    assert picture.getbbox() is None, "the picture itself is not changed"
    assert drawn.getpixel((89, 20)) == (255, 214, 10), "the right edge of the second box"


def test_a_tiny_picture_is_drawn() -> None:
    assert spotter.draw(Image.new("RGB", (1, 1)), [found("dust", 3, 0, 0, 1, 1)]).size == (1, 1)
