// Boxes and labels on a canvas.

import type { FoundObject } from "../api/tasks";
import { percent } from "../format";
import { colourOf } from "../results/colours";
import type { Placement } from "./viewport";

const FONT = "600 12px system-ui, sans-serif";
const RIM = "rgb(255 255 255 / 0.6)";
const LABEL_HEIGHT = 18;
const LABEL_PADDING = 5;
/** Narrower boxes have their label only while they are highlighted. */
const LEAST_LABELLED_WIDTH = 14;
/** With more objects, labels would cover the picture, and each frame has to be drawn in time. */
const MOST_DETAILED = 120;

export interface Drawn {
  objects: FoundObject[];
  highlighted: FoundObject | null;
  /** Of the canvas, in CSS pixels: no label leaves it. */
  width: number;
}

/** Draws the objects into a context whose unit is a CSS pixel. Boxes of a class are one path, so a thousand are cheap. */
export function drawObjects(context: CanvasRenderingContext2D, drawn: Drawn, placement: Placement): void {
  const { objects, highlighted, width: canvasWidth } = drawn;
  const isSparse = objects.length <= MOST_DETAILED;
  context.lineJoin = "round";
  context.globalAlpha = highlighted ? 0.45 : 1;
  for (const [classId, path] of pathsByClass(objects, placement)) {
    if (isSparse) {
      // A light rim keeps lines apart from a picture of the same colour.
      context.lineWidth = 4;
      context.strokeStyle = RIM;
      context.stroke(path);
    }
    context.lineWidth = 2;
    context.strokeStyle = colourOf(classId);
    context.stroke(path);
  }
  context.font = FONT;
  context.textBaseline = "middle";
  if (isSparse) {
    // The most certain object comes first, and its label is on top of the others.
    for (const object of objects.toReversed()) {
      const width = (object.bbox.x2 - object.bbox.x1) * placement.scale;
      if (width >= LEAST_LABELLED_WIDTH) drawLabel(context, object, placement, canvasWidth);
    }
  }
  context.globalAlpha = 1;
  if (highlighted && objects.includes(highlighted)) drawHighlighted(context, highlighted, placement, canvasWidth);
}

function pathsByClass(objects: FoundObject[], placement: Placement): Map<number, Path2D> {
  const paths = new Map<number, Path2D>();
  for (const { class_id, bbox } of objects) {
    const path = paths.get(class_id) ?? new Path2D();
    path.rect(...rectangle(bbox, placement));
    paths.set(class_id, path);
  }
  return paths;
}

function rectangle(
  { x1, y1, x2, y2 }: FoundObject["bbox"],
  { scale, left, top }: Placement,
): [number, number, number, number] {
  return [left + x1 * scale, top + y1 * scale, (x2 - x1) * scale, (y2 - y1) * scale];
}

function drawHighlighted(
  context: CanvasRenderingContext2D,
  object: FoundObject,
  placement: Placement,
  canvasWidth: number,
): void {
  const [x, y, width, height] = rectangle(object.bbox, placement);
  const colour = colourOf(object.class_id);
  context.fillStyle = `${colour}33`;
  context.fillRect(x, y, width, height);
  context.strokeStyle = colour;
  context.lineWidth = 3;
  context.strokeRect(x, y, width, height);
  drawLabel(context, object, placement, canvasWidth);
}

function drawLabel(
  context: CanvasRenderingContext2D,
  object: FoundObject,
  placement: Placement,
  canvasWidth: number,
): void {
  const [x, y] = rectangle(object.bbox, placement);
  const text = `${object.label} ${percent(object.confidence)}`;
  const width = context.measureText(text).width + 2 * LABEL_PADDING;
  // Above the box, or inside it at the viewer's edge.
  const top = y - LABEL_HEIGHT >= 0 ? y - LABEL_HEIGHT : Math.max(0, y);
  const left = Math.max(0, Math.min(x - 1, canvasWidth - width));
  context.fillStyle = colourOf(object.class_id);
  context.fillRect(left, top, width, LABEL_HEIGHT);
  context.fillStyle = "#fff";
  context.fillText(text, left + LABEL_PADDING, top + LABEL_HEIGHT / 2);
}

/** The smallest object at a point of the viewer, in CSS pixels. */
export function objectAt(x: number, y: number, objects: FoundObject[], placement: Placement): FoundObject | null {
  const [atX, atY] = [(x - placement.left) / placement.scale, (y - placement.top) / placement.scale];
  let [smallest, least] = [null as FoundObject | null, Infinity];
  for (const object of objects) {
    const { x1, y1, x2, y2 } = object.bbox;
    const area = (x2 - x1) * (y2 - y1);
    if (atX >= x1 && atX <= x2 && atY >= y1 && atY <= y2 && area < least) [smallest, least] = [object, area];
  }
  return smallest;
}

/** The picture in its own size with the objects drawn in, as PNG. */
export async function annotated(picture: Blob, objects: FoundObject[]): Promise<Blob> {
  const bitmap = await createImageBitmap(picture);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d") as unknown as CanvasRenderingContext2D;
  context.drawImage(bitmap, 0, 0);
  // Lines and labels as large as in a viewer in which the picture fits.
  const enlarged = Math.max(1, Math.max(bitmap.width, bitmap.height) / 1000);
  context.scale(enlarged, enlarged);
  const width = bitmap.width / enlarged;
  drawObjects(context, { objects, highlighted: null, width }, { scale: 1 / enlarged, left: 0, top: 0 });
  bitmap.close();
  return canvas.convertToBlob({ type: "image/png" });
}
