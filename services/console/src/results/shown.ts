// Which of the found objects are shown: the slider and the class filter act on results that are there already.

import { computed, signal } from "@preact/signals";
import type { FoundObject } from "../api/tasks";
import { pictures, selected } from "../pictures/list";
import type { Picture } from "../pictures/picture";

/** The API's own default. */
const DEFAULT_CONFIDENCE = 0.25;

/** The least class score of an object that is shown. */
export const confidence = signal(DEFAULT_CONFIDENCE);

/** The classes that are not shown. */
export const hiddenClasses = signal<ReadonlySet<string>>(new Set());

export function toggleClass(label: string): void {
  const hidden = new Set(hiddenClasses.value);
  if (!hidden.delete(label)) hidden.add(label);
  hiddenClasses.value = hidden;
}

export function hideAllBut(label: string, labels: string[]): void {
  hiddenClasses.value = new Set(labels.filter((one) => one !== label));
}

export function showAllClasses(): void {
  hiddenClasses.value = new Set();
}

/** A picture with its objects, as the viewer shows it. */
export interface View {
  name: string;
  url: string | null;
  /** In pixels; 0 where it is not known yet. */
  width: number;
  height: number;
  objects: FoundObject[];
}

/** The camera's frame that was answered last; `null`: the camera is off. */
export const cameraView = signal<View | null>(null);

export const view = computed<View | null>(() => cameraView.value ?? viewOf(selected.value));

function viewOf(picture: Picture | null): View | null {
  if (!picture) return null;
  const { url, submission, state } = picture;
  const task = state.value.kind === "done" ? state.value.task : null;
  const { width = 0, height = 0, objects = [] } = task ?? {};
  return { name: submission.name, url, width, height, objects };
}

function above(objects: FoundObject[]): FoundObject[] {
  return objects.filter((object) => object.confidence >= confidence.value);
}

export function shownOf(objects: FoundObject[]): FoundObject[] {
  return above(objects).filter((object) => !hiddenClasses.value.has(object.label));
}

export const shownObjects = computed(() => shownOf(view.value?.objects ?? []));

export interface ClassCount {
  label: string;
  classId: number;
  here: number;
  everywhere: number;
}

/** How many objects of each class are above the slider's confidence: in the picture that is shown, and in all. */
export const classCounts = computed<ClassCount[]>(() => {
  const byLabel = new Map<string, ClassCount>();
  const count = (objects: FoundObject[], where: "here" | "everywhere") => {
    for (const { label, class_id: classId } of above(objects)) {
      const known = byLabel.get(label) ?? { label, classId, here: 0, everywhere: 0 };
      known[where]++;
      byLabel.set(label, known);
    }
  };
  count(view.value?.objects ?? [], "here");
  for (const { state } of pictures.value) {
    if (state.value.kind === "done") count(state.value.task.objects ?? [], "everywhere");
  }
  return [...byLabel.values()].sort((one, other) => other.here - one.here || other.everywhere - one.everywhere);
});

/** The object that the pointer or the keyboard is on. */
export const highlighted = signal<FoundObject | null>(null);
