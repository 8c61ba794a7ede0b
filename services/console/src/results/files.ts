// The shown objects as files: JSON, COCO, and YOLO, as docs/formats.md describes them.

import type { FoundObject, Task } from "../api/tasks";
import { shownOf } from "./shown";

/** Of all pictures with a result, or of one. */
export function tasksAsJson(tasks: Task[]): string {
  const shown = tasks.map((task) => ({ ...task, objects: shownOf(task.objects ?? []) }));
  return `${JSON.stringify(shown.length === 1 ? shown[0] : shown, null, 2)}\n`;
}

/** One COCO data set. Category ids are the classes' indices and 1. */
export function tasksAsCoco(tasks: Task[]): string {
  const categories = new Map<number, string>();
  const annotations: object[] = [];
  const images = tasks.map((task, index) => {
    for (const object of shownOf(task.objects ?? [])) {
      categories.set(object.class_id + 1, object.label);
      annotations.push({ id: annotations.length + 1, image_id: index + 1, ...annotationOf(object) });
    }
    const { picture_name: file_name, width, height } = task;
    return { id: index + 1, file_name, width, height };
  });
  const sorted = [...categories].sort(([one], [other]) => one - other);
  const info = { description: "Objects detected by spotter" };
  const data = { info, images, annotations, categories: sorted.map(([id, name]) => ({ id, name })) };
  return `${JSON.stringify(data, null, 2)}\n`;
}

function annotationOf({ bbox, class_id, confidence }: FoundObject): object {
  const [width, height] = [bbox.x2 - bbox.x1, bbox.y2 - bbox.y1];
  return {
    category_id: class_id + 1,
    bbox: [bbox.x1, bbox.y1, width, height].map(fiveDecimals),
    area: fiveDecimals(width * height),
    iscrowd: 0,
    score: confidence,
  };
}

function fiveDecimals(number: number): number {
  return Math.round(number * 1e5) / 1e5;
}

/** A line `class cx cy w h` for each object, in parts of the picture's sides. */
export function taskAsYolo({ objects = [], width = 1, height = 1 }: Task): string {
  const line = ({ class_id, bbox: { x1, y1, x2, y2 } }: FoundObject) => {
    const parts = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height];
    return `${class_id} ${parts.map((part) => part.toFixed(6)).join(" ")}\n`;
  };
  return shownOf(objects).map(line).join("");
}

/** Hands a file to the browser. */
export function download(name: string, content: Blob | string): void {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content]));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The browser has taken it by the next task.
  setTimeout(() => URL.revokeObjectURL(url));
}

/** A file name without its folders and its extension. */
export function stem(name: string): string {
  const last = name.split("/").pop() ?? name;
  return last.replace(/\.[^.]*$/, "");
}
