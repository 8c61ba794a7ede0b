"""Boxes and labels drawn into a picture, as the worker draws them for `annotated`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spotter._models import FoundObject, Task
from spotter._pictures import PictureSource, open_picture

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

# The colours of the classes, in turn; all stand out from a photograph.
PALETTE = (
    "#ff453a", "#0a84ff", "#30d158", "#ff9f0a", "#bf5af2", "#ffd60a", "#64d2ff", "#ff6fb5", "#ac8e68", "#5e5ce6",
)  # fmt: skip
DARK_TEXT, LIGHT_TEXT = "#101010", "#ffffff"
# The thickness of a line and the height of a label, as parts of the picture's mean side, and in pixels at least.
LINE_SHARE, LEAST_LINE = 1 / 300, 2
TEXT_SHARE, LEAST_TEXT = 1 / 42, 12
# Space round the text of a label, as a part of its height.
PADDING = 0.2
# The luminance from which on dark text is easier to read.
BRIGHT = 140


def draw(picture: PictureSource, found: Task | Iterable[FoundObject]) -> Image.Image:
    """A copy of a picture with a box and a label such as "bus 0.87" for each object. Needs Pillow.

    The object with the highest confidence is drawn last, above the others.
    """
    drawn = open_picture(picture).convert("RGB")
    pen = Pen(drawn)
    objects = found.objects if isinstance(found, Task) else found
    by_confidence = sorted(objects, key=lambda one: one.confidence)
    # All boxes first, so that no line crosses a label.
    for one in by_confidence:
        pen.box(one)
    for one in by_confidence:
        pen.label(one)
    return drawn


class Pen:
    """Draws in sizes that fit the picture."""

    def __init__(self, picture: Image.Image) -> None:
        from PIL import ImageDraw, ImageFont

        mean_side = (picture.width + picture.height) / 2
        self._width, self._height = picture.size
        self._line = max(LEAST_LINE, round(mean_side * LINE_SHARE))
        self._text = max(LEAST_TEXT, mean_side * TEXT_SHARE)
        self._draw: ImageDraw.ImageDraw = ImageDraw.Draw(picture)
        self._font: ImageFont.FreeTypeFont | ImageFont.ImageFont = ImageFont.load_default(self._text)

    def box(self, found: FoundObject) -> None:
        corners = found.bbox
        x1, y1 = max(0.0, corners.x1), max(0.0, corners.y1)
        x2, y2 = min(self._width - 1.0, corners.x2), min(self._height - 1.0, corners.y2)
        if x1 <= x2 and y1 <= y2:
            self._draw.rectangle((x1, y1, x2, y2), outline=colour_of(found), width=self._line)

    def label(self, found: FoundObject) -> None:
        text = f"{found.label} {found.confidence:.2f}"
        left, top, right, bottom = self._draw.textbbox((0, 0), text, font=self._font)
        padding = self._text * PADDING
        width, height = right - left + 2 * padding, bottom - top + 2 * padding
        # Above the box, and inside the picture.
        x = min(max(0.0, found.bbox.x1), max(0.0, self._width - width))
        y = min(max(0.0, found.bbox.y1 - height), max(0.0, self._height - height))
        colour = colour_of(found)
        self._draw.rectangle((x, y, x + width, y + height), fill=colour)
        place = (x + padding - left, y + padding - top)
        self._draw.text(place, text, font=self._font, fill=text_colour_on(colour))


def colour_of(found: FoundObject) -> str:
    return PALETTE[found.class_id % len(PALETTE)]


def text_colour_on(colour: str) -> str:
    red, green, blue = bytes.fromhex(colour[1:])
    # Rec. 601 luma.
    return DARK_TEXT if 0.299 * red + 0.587 * green + 0.114 * blue > BRIGHT else LIGHT_TEXT
