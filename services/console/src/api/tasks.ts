// Tasks: submitting a picture, following it, cancelling it, listing.

import type { components } from "./openapi";
import { follow } from "./follow";
import { request } from "./http";

export type Task = components["schemas"]["Task"];
export type FoundObject = components["schemas"]["FoundObject"];

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
  const query = new URLSearchParams({ confidence: String(LEAST_CONFIDENCE) });
  if (submission.model !== null) query.set("model", submission.model);
  // A list that an earlier version of the page has stored says nothing about tiles.
  if (submission.tiles) query.set("tiles", submission.tiles);
  const isPicture = submission.mediaType.startsWith("image/");
  return {
    path: `/v1/tasks?${query}`,
    headers: [
      ["Content-Type", isPicture ? submission.mediaType : "application/octet-stream"],
      ["Content-Disposition", `attachment; filename*=UTF-8''${encoded(submission.name)}`],
    ],
  };
}

/** A text in a parameter of a header (RFC 8187). */
function encoded(text: string): string {
  const hex = (character: string) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  return encodeURIComponent(text).replace(/['()*!]/g, hex);
}

/** Submits a picture. The same key is the same task, so this can be repeated. */
export async function submit(
  submission: Submission,
  picture: Blob,
  { idempotencyKey, signal }: { idempotencyKey: string; signal: AbortSignal },
): Promise<Task> {
  const { path, headers } = submitRequest(submission);
  headers.push(["Idempotency-Key", idempotencyKey]);
  const answer = await request(path, { method: "POST", body: picture, headers, signal });
  return answer.json();
}

/** Submits a frame of the camera and waits for its result. */
export async function detectNow(submission: Submission, frame: Blob, signal: AbortSignal): Promise<Task> {
  const { path, headers } = submitRequest(submission);
  headers.push(["Prefer", "wait=20"], ["Cache-Control", "no-store"]);
  const answer = await request(`${path}&deadline=20`, { method: "POST", body: frame, headers, signal });
  return answer.json();
}

export async function cancelTask(id: string): Promise<void> {
  await request(`/v1/tasks/${id}`, { method: "DELETE" });
}

export function isFinished(task: Task): boolean {
  return task.state !== "QUEUED" && task.state !== "STARTED";
}

/** The task after each of its events, to its end. */
export function followTask(id: string, signal: AbortSignal): AsyncGenerator<Task> {
  return follow(`/v1/tasks/${encodeURIComponent(id)}/events`, isFinished, signal);
}

export type TaskList = components["schemas"]["TaskList"];

/** A page of the list of tasks, newest first. `filters` are the parameters of the request. */
export async function listTasks(filters: URLSearchParams, signal: AbortSignal): Promise<TaskList> {
  const answer = await request(`/v1/tasks?${filters}`, { signal });
  return answer.json();
}

/** The picture with its objects drawn in, of a task that was submitted with `annotated`. */
export async function annotatedPicture(link: string, signal: AbortSignal): Promise<Blob> {
  const answer = await request(link, { signal });
  return answer.blob();
}
