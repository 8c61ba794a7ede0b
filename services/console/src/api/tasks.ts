// Tasks: submitting a picture, following it, cancelling it, listing.

import {
  type FoundObject,
  type SubmitParameters,
  type Task,
  type TaskList,
  isFinished,
  submitRequest as requestOf,
} from "spotter-detection";
import { REOPENED_FOR, api, getContent, getJson } from "./client";

export { type FoundObject, type Task, isFinished };

/**
 * Objects below this class score are not asked for. The slider hides the others at once, without a new run: suppression
 * goes from the highest score down, so objects above a score do not depend on those below it.
 */
export const LEAST_CONFIDENCE = 0.05;

/** A picture as it is sent. */
export interface Submission {
  name: string;
  mediaType: string;
  /** The model's name; `null`: the API's default. */
  model: string | null;
  /** `auto`, or columns and rows as in `3x2`; `null`: the picture is run as a whole only. */
  tiles: string | null;
}

/** Path and headers of the request that submits a picture: its bytes are the whole body. */
export function submitRequest(submission: Submission): { path: string; headers: [string, string][] } {
  return requestOf(submission, parametersOf(submission));
}

function parametersOf({ model, tiles }: Submission): SubmitParameters {
  // A list that an earlier version of the page has stored says nothing about tiles.
  return { confidence: LEAST_CONFIDENCE, model: model ?? undefined, tiles: tiles || undefined };
}

/** Submits a picture. The same key is the same task, so this can be repeated. */
export function submit(
  submission: Submission,
  content: Blob,
  { idempotencyKey, signal }: { idempotencyKey: string; signal: AbortSignal },
): Promise<Task> {
  const { name } = submission;
  return api.submit({ content, name }, { ...parametersOf(submission), idempotencyKey, signal });
}

/** Submits a frame of the camera and waits for its result. */
export function detectNow(submission: Submission, content: Blob, signal: AbortSignal): Promise<Task> {
  const { name } = submission;
  const once = { deadline: 20, wait: 20, cacheControl: "no-store", idempotencyKey: null } as const;
  return api.submit({ content, name }, { ...parametersOf(submission), ...once, signal });
}

export async function cancelTask(id: string): Promise<void> {
  await api.cancel(id);
}

/** The task after each of its events, to its end. */
export async function* followTask(id: string, signal: AbortSignal): AsyncGenerator<Task> {
  for await (const { task } of api.events(id, { signal, retryFor: REOPENED_FOR })) yield task;
}

/** A page of the list of tasks, newest first. `filters` are the parameters of the request. */
export function listTasks(filters: URLSearchParams, signal: AbortSignal): Promise<TaskList> {
  return getJson(`/v1/tasks?${filters}`, signal);
}

/** The picture with its objects drawn in, of a task that was submitted with `annotated`. */
export function annotatedPicture(link: string, signal: AbortSignal): Promise<Blob> {
  return getContent(link, signal);
}
