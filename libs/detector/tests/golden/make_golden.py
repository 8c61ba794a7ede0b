#!/usr/bin/env python3
"""Makes the golden data of this folder with OpenCV, Pillow and torchvision: what the Rust code is held against.

    python3 -m venv /tmp/golden
    /tmp/golden/bin/pip install opencv-python-headless==4.14.0.94 pillow==11.3.0 numpy torchvision==0.29.2
    /tmp/golden/bin/python make_golden.py ../../../../test_images

`letterbox.txt`: one letterboxed picture a line; `stretch.txt`: one that is stretched; `stretch_float.txt`: one that is
stretched as floats and standardised, of which some values are kept. `files/NAME` is a small picture,
and `files/NAME.expected.png` what cv2.imread makes of it. `test_images.txt`: the sample pictures, decoded and
letterboxed.
"""

import hashlib
import os
import sys

import cv2
import numpy as np
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))

# Source sizes: both test pictures', halves and doubles, identity, odd and thin ones, up and down.
SIZES = [
    (810, 1080), (1280, 720), (640, 480), (320, 240), (1280, 1280), (640, 640), (641, 639), (500, 375),
    (333, 777), (1000, 699), (1001, 701), (999, 700), (37, 21), (21, 37), (1, 1), (1, 50), (50, 1), (2, 3),
    (3, 1000), (1000, 3), (1920, 1080), (17, 640), (639, 640), (123, 457), (457, 123), (64, 64), (65, 33), (720, 1280),
]


def synthetic(width, height):
    """RGB; the test has the same formula."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    planes = [(x * 73 + y * 151 + c * 199 + (x * y) % 251 * 7 + ((x * x + y * y) >> 3)) & 0xFF for c in range(3)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def scaled(picture, size):
    return picture if picture.shape[1::-1] == size else cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)


def ultralytics(picture, side=640, stride=32):
    """LetterBox(auto=True) and the gain and padding of scale_boxes."""
    height, width = picture.shape[:2]
    ratio = min(side / height, side / width)
    size = max(round(width * ratio), 1), max(round(height * ratio), 1)
    dw, dh = (side - size[0]) % stride / 2, (side - size[1]) % stride / 2
    top, bottom, left, right = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
    boxed = cv2.copyMakeBorder(
        scaled(picture, size), top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114)
    )
    gain = min(boxed.shape[0] / height, boxed.shape[1] / width)
    pad = round((boxed.shape[1] - width * gain) / 2 - 0.1), round((boxed.shape[0] - height * gain) / 2 - 0.1)
    return boxed.transpose(2, 0, 1), gain, pad


def yolox(picture, side=416):
    """preproc: top left, BGR."""
    height, width = picture.shape[:2]
    ratio = min(side / height, side / width)
    # The original has no max(): a picture thinner than this would be an error there.
    size = max(int(width * ratio), 1), max(int(height * ratio), 1)
    boxed = np.full((side, side, 3), 114, dtype=np.uint8)
    boxed[: size[1], : size[0]] = scaled(picture, size)
    return boxed[:, :, ::-1].transpose(2, 0, 1), ratio, (0, 0)


def write_letterbox():
    with open(os.path.join(HERE, "letterbox.txt"), "w") as out:
        print("# convention source_width source_height width height scale pad_x pad_y sha256(planes)", file=out)
        for convention in (ultralytics, yolox):
            for width, height in SIZES:
                planes, scale, pad = convention(synthetic(width, height))
                print(convention.__name__, width, height, planes.shape[2], planes.shape[1],
                      repr(scale), *pad, sha256(planes), file=out)


def write_stretch(size=(416, 320)):
    with open(os.path.join(HERE, "stretch.txt"), "w") as out:
        print("# resampling source_width source_height sha256(planes)", file=out)
        for name, stretched in (
            ("opencv", lambda picture: scaled(picture, size)),
            ("pillow", lambda picture: np.asarray(Image.fromarray(picture).resize(size, Image.BILINEAR))),
        ):
            for width, height in SIZES:
                print(name, width, height, sha256(stretched(synthetic(width, height)).transpose(2, 0, 1)), file=out)


def write_stretch_float(size=(416, 320), step=4999):
    """As `RFDETR.predict` of the package rfdetr."""
    from torchvision.transforms import functional

    with open(os.path.join(HERE, "stretch_float.txt"), "w") as out:
        print(f"# source_width source_height, then every {step}th of the values", file=out)
        for width, height in [*SIZES, (3840, 2160)]:
            tensor = functional.to_tensor(synthetic(width, height))
            tensor = functional.resize(tensor, list(reversed(size)), antialias=False)
            tensor = functional.normalize(tensor, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
            print(width, height, *tensor.numpy().ravel()[::step], file=out)


def write_test_images(folder):
    with open(os.path.join(HERE, "test_images.txt"), "w") as out:
        print("# name width height sha256(rgb) sha256(letterboxed planes)", file=out)
        for name in ("astronaut.png", "bus.jpg", "chelsea.png", "coffee.png", "zidane.jpg"):
            rgb = cv2.cvtColor(cv2.imread(os.path.join(folder, name)), cv2.COLOR_BGR2RGB)
            print(name, rgb.shape[1], rgb.shape[0], sha256(rgb), sha256(ultralytics(rgb)[0]), file=out)


def write_files():
    folder = os.path.join(HERE, "files")
    os.makedirs(folder, exist_ok=True)

    def path(name):
        return os.path.join(folder, name)

    y, x = np.mgrid[0:26, 0:38]
    smooth = np.stack([x * 6, y * 9, 255 - x * 3 - y * 4], axis=-1).astype(np.uint8)
    picture = Image.fromarray(smooth)
    alpha = np.dstack([smooth, (x * 5 + y).astype(np.uint8)])
    frames = [picture, Image.fromarray(smooth[:, ::-1])]

    picture.save(path("baseline.jpg"), quality=90)
    picture.save(path("progressive.jpg"), quality=80, progressive=True)
    picture.save(path("full-colour.jpg"), quality=95, subsampling=0)
    picture.save(path("half-colour.jpg"), quality=85, subsampling=1)
    picture.convert("L").save(path("grey.jpg"))
    picture.convert("CMYK").save(path("cmyk.jpg"), quality=95)
    picture.convert("P", palette=Image.ADAPTIVE, colors=40).save(path("palette.png"))
    picture.convert("1").save(path("one-bit.png"))
    picture.convert("L").save(path("grey.png"))
    Image.fromarray(alpha).save(path("alpha.png"))
    cv2.imwrite(path("sixteen-bit.png"), (smooth[:, :, ::-1].astype(np.uint16) * 251 + 131))
    cv2.imwrite(path("sixteen-bit-grey.png"), (smooth[:, :, 0].astype(np.uint16) * 249 + 97))
    picture.save(path("colour.bmp"))
    picture.convert("L").save(path("grey.bmp"))
    picture.convert("P", palette=Image.ADAPTIVE, colors=40).save(path("palette.gif"))
    frames[0].save(path("animated.gif"), save_all=True, append_images=frames[1:], duration=100)
    picture.save(path("lossy.webp"), quality=90)
    picture.save(path("lossless.webp"), lossless=True)
    Image.fromarray(alpha).save(path("alpha.webp"), lossless=True, exact=True)
    frames[0].save(path("animated.webp"), save_all=True, append_images=frames[1:], lossless=True)

    for name in sorted(os.listdir(folder)):
        if not name.endswith(".expected.png"):
            cv2.imwrite(path(name + ".expected.png"), cv2.imread(path(name)))


write_letterbox()
write_stretch()
write_stretch_float()
write_files()
write_test_images(sys.argv[1])
