// Tasks: submitting a picture, following it, cancelling it.

import type { components } from "./openapi";
import { eventsOf } from "./event-stream";
import { pause, request } from "./http";
import { ApiError } from "./problem";

export type Task = components["schemas"]["Task"];
export type FoundObject = components["schemas"]["FoundObject"];

/**
 * Objects below this class score are not asked for. The slider hides the others at once, without a new run: suppression
 * goes from the highest score down, so objects above a score do not depend on those below it.
 */
export const LEAST_CONFIDENCE = 0.05;

/** How often a broken stream is opened again, and for how long the first pause is. */
const MOST_RECONNECTS = 8;
const FIRST_PAUSE_MS = 500;

/** A picture as it is sent. */
export interface Submission {
  name: string;
  mediaType: string;
  /** The model's name; `null`: the API's default. */
  model: string | null;
}

/** Path and headers of the request that submits a picture: its bytes are the whole body. */
export function submitRequest(submission: Submission): { path: string; headers: [string, string][] } {
  const query = new URLSearchParams({ confidence: String(LEAST_CONFIDENCE) });
  if (submission.model !== null) query.set("model", submission.model);
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

/**
 * The task after each of its events, to its end. A connection that breaks is opened again behind the last event.
 */
export async function* follow(id: string, signal: AbortSignal): AsyncGenerator<Task> {
  let last = "";
  for (let broken = 0; ; broken++) {
    try {
      const headers: Record<string, string> = last ? { "Last-Event-ID": last } : {};
      const answer = await request(`/v1/tasks/${id}/events`, { headers, signal });
      for await (const event of eventsOf(answer)) {
        const task: Task = JSON.parse(event.data);
        last = event.id;
        broken = 0;
        yield task;
        if (isFinished(task)) return;
      }
      // Nothing follows the last event.
      if (answer.status === 204) return;
    } catch (error) {
      if (signal.aborted) throw error;
      // A connection that breaks in mid stream is a TypeError.
      const mayRecover = error instanceof TypeError || (error instanceof ApiError && error.isTemporary);
      if (!mayRecover || broken >= MOST_RECONNECTS) throw error;
      await pause((error instanceof ApiError && error.retryAfter ? error.retryAfter * 1000 : 0), signal);
    }
    if (broken >= MOST_RECONNECTS) throw ApiError.unreachable();
    await pause(FIRST_PAUSE_MS * 2 ** Math.min(broken, 5), signal);
  }
}
