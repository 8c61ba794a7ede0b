// The list of pictures: adding, cancelling, removing, and going on after a reload.

import { computed, effect, signal } from "@preact/signals";
import { ApiError } from "spotter-detection";
import { chosenModel } from "../api/models";
import { cancelTask } from "../api/tasks";
import { type Picture, isSettled, newPicture, taskIdOf } from "./picture";
import { progress } from "./progress";
import { chosenTiles } from "./tiles";
import {
  type StoredPicture,
  deleteContents,
  deleteOldContents,
  readContent,
  readList,
  storeContents,
  storeList,
} from "./storage";

export const pictures = signal<Picture[]>([]);

/** The id of the picture that is shown large. */
const selectedId = signal<string | null>(null);

export const selected = computed(
  () => pictures.value.find((picture) => picture.id === selectedId.value) ?? pictures.value[0] ?? null,
);

export const counts = computed(() => {
  const all = pictures.value.map((picture) => picture.state.value.kind);
  const of = (kind: string) => all.filter((one) => one === kind).length;
  const [done, failed, cancelled] = [of("done"), of("failed"), of("cancelled")];
  return { all: all.length, done, failed, cancelled, open: all.length - done - failed - cancelled };
});

export function select(picture: Picture): void {
  selectedId.value = picture.id;
}

/** Selects the picture that is so many places further; at the ends, the last or first one. */
export function selectBy(places: number): void {
  const all = pictures.value;
  const at = selected.value ? all.indexOf(selected.value) : 0;
  const next = all[Math.max(0, Math.min(all.length - 1, at + places))];
  if (next) select(next);
}

/** Adds pictures, and submits them. */
export function add(files: { content: Blob; name: string }[]): void {
  const added = files.map(({ content, name }) => {
    const submission = { name, mediaType: content.type, model: chosenModel.value, tiles: chosenTiles.value };
    return newPicture(crypto.randomUUID?.() ?? randomId(), submission, content);
  });
  const [first] = added;
  if (!first) return;
  pictures.value = [...pictures.value, ...added];
  select(first);
  void storeContents(added.flatMap(({ id, content }) => (content ? [[id, content]] : [])));
  for (const picture of added) void progress(picture);
}

/** `crypto.randomUUID` exists on `https` and localhost only. */
function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16)).join("-");
}

/** Submits a picture again, as a new task, with the model and the tiles that are chosen now. */
export function runAgain(picture: Picture): void {
  if (!picture.content) return;
  const before = pictures.value.indexOf(picture);
  remove(picture);
  add([{ content: picture.content, name: picture.submission.name }]);
  const all = pictures.value.slice();
  const again = all.pop();
  if (again) all.splice(before, 0, again);
  pictures.value = all;
}

/** Ends a picture's task, wherever it stands. */
export async function cancel(picture: Picture): Promise<void> {
  const state = picture.state.value;
  if (isSettled(state)) return;
  const taskId = taskIdOf(state);
  try {
    if (taskId !== null) await cancelTask(taskId);
  } catch (error) {
    // It has ended meanwhile: its last event is on the way.
    if (error instanceof ApiError && error.kind === "task-ended") return;
    throw error;
  }
  picture.state.value = { kind: "cancelled", taskId };
  picture.abort.abort();
}

export async function cancelAll(): Promise<void> {
  const open = pictures.value.filter((picture) => !isSettled(picture.state.value));
  // The last ones first: those that have no task yet must not be submitted while others are cancelled.
  for (const picture of open.reverse()) await cancel(picture);
}

export function remove(picture: Picture): void {
  picture.abort.abort();
  if (picture.url) URL.revokeObjectURL(picture.url);
  void deleteContents([picture.id]);
  pictures.value = pictures.value.filter((one) => one !== picture);
}

export function clear(): void {
  for (const picture of pictures.value) remove(picture);
}

/** Goes on where the page was before a reload. */
export async function restore(): Promise<void> {
  const stored = readList();
  const restored = await Promise.all(
    stored.map(async ({ id, submission, taskId, isCancelled }) => {
      const picture = newPicture(id, submission, await readContent(id));
      if (isCancelled) picture.state.value = { kind: "cancelled", taskId };
      else if (taskId !== null) picture.state.value = { kind: "queued", taskId };
      return picture;
    }),
  );
  pictures.value = [...restored, ...pictures.value];
  for (const picture of restored) if (!isSettled(picture.state.value)) void progress(picture);
  await deleteOldContents();
}

function stored({ id, submission, state }: Picture): StoredPicture {
  const isCancelled = state.value.kind === "cancelled";
  return { id, submission, taskId: taskIdOf(state.value), isCancelled };
}

/** Stores the list after its changes, and last when the page goes away. */
export function keepStored(): void {
  const store = () => storeList(pictures.value.map(stored));
  let timer: number | undefined;
  effect(() => {
    for (const picture of pictures.value) void picture.state.value;
    timer ??= window.setTimeout(() => {
      timer = undefined;
      store();
    }, 500);
  });
  window.addEventListener("pagehide", store);
}
