"""A LitServe server for an ordinary YOLOv8 export, as one would write it: OpenCV, ONNX Runtime, NMS by OpenCV.

Started as a program of its own: MODEL.onnx PORT WORKERS QUEUE. Each worker is a process with one thread.
"""

# No postponed annotations: LitServe reads the type of `request`.

import os
import sys

# ONNX Runtime reports its use to its vendor otherwise.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import cv2
import litserve
import numpy
import onnxruntime
from fastapi import Request

# Ultralytics' defaults.
CONFIDENCE = 0.25
IOU = 0.7
MAX_DETECTIONS = 300
PADDING = 114

NICENESS = 10


class Yolo(litserve.LitAPI):
    """From the picture in a form's field `file` to its objects."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.path = model

    def setup(self, device: str) -> None:
        # As `spotter up` starts its workers: requests take precedence, and other programs slow both alike.
        os.nice(NICENESS)
        cv2.setNumThreads(1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.model = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        (image,) = self.model.get_inputs()
        self.image = image.name
        _, _, self.height, self.width = image.shape

    def decode_request(self, request: Request) -> numpy.ndarray:
        encoded = numpy.frombuffer(request["file"].file.read(), numpy.uint8)
        return cv2.imdecode(encoded, cv2.IMREAD_COLOR)

    def predict(self, picture: numpy.ndarray) -> list[dict]:
        height, width = picture.shape[:2]
        scale = min(self.width / width, self.height / height)
        inner = round(width * scale), round(height * scale)
        resized = cv2.resize(picture, inner, interpolation=cv2.INTER_LINEAR)
        left, top = (self.width - inner[0]) / 2, (self.height - inner[1]) / 2
        sides = round(top - 0.1), round(top + 0.1), round(left - 0.1), round(left + 0.1)
        padded = cv2.copyMakeBorder(resized, *sides, cv2.BORDER_CONSTANT, value=(PADDING, PADDING, PADDING))
        tensor = cv2.dnn.blobFromImage(padded, 1 / 255, swapRB=True)
        (output,) = self.model.run(None, {self.image: tensor})
        return objects(output[0], scale, sides[2], sides[0])

    def encode_response(self, output: list[dict]) -> dict:
        return {"objects": output}


def objects(output: numpy.ndarray, scale: float, left: int, top: int) -> list[dict]:
    """Rows of `output`: centre x, centre y, width and height of a box, then the score of each class."""
    scores = output[4:]
    keep = scores.max(axis=0) > CONFIDENCE
    scores, boxes = scores[:, keep], output[:4, keep].T
    if not len(boxes):
        return []
    classes, best = scores.argmax(axis=0), scores.max(axis=0)
    corners = numpy.column_stack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]])
    kept = cv2.dnn.NMSBoxesBatched(corners.tolist(), best.tolist(), classes.tolist(), CONFIDENCE, IOU)
    found = []
    for place in kept[:MAX_DETECTIONS]:
        x, y, width, height = corners[place]
        x1, y1 = (x - left) / scale, (y - top) / scale
        box = {"x1": x1, "y1": y1, "x2": x1 + width / scale, "y2": y1 + height / scale}
        box = {side: float(value) for side, value in box.items()}
        found.append({"class_id": int(classes[place]), "confidence": float(best[place]), "bbox": box})
    return found


def main() -> None:
    model, port, workers, queue = sys.argv[1:]
    server = litserve.LitServer(
        Yolo(model), accelerator="cpu", workers_per_device=int(workers), fast_queue=queue == "zmq"
    )
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
