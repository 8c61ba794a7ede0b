// A picture of the list, and what has become of it.

import { type Signal, signal } from "@preact/signals";
import type { Explanation } from "../api/problem";
import type { Submission, Task } from "../api/tasks";

export type PictureState =
  | { kind: "waiting"; note: string | null }
  | { kind: "uploading" }
  | { kind: "queued"; taskId: string }
  | { kind: "started"; taskId: string }
  | { kind: "done"; taskId: string; task: Task }
  | { kind: "failed"; taskId: string | null; explanation: Explanation }
  | { kind: "cancelled"; taskId: string | null };

export interface Picture {
  /** Of this list; also the Idempotency-Key, so that a reload in mid submission makes no second task. */
  id: string;
  submission: Submission;
  /** `null` where a reload has lost it. */
  content: Blob | null;
  /** The address of `content` within this page. */
  url: string | null;
  state: Signal<PictureState>;
  /** Ends its requests. */
  abort: AbortController;
}

export function newPicture(id: string, submission: Submission, content: Blob | null): Picture {
  return {
    id,
    submission,
    content,
    url: content && URL.createObjectURL(content),
    state: signal<PictureState>({ kind: "waiting", note: null }),
    abort: new AbortController(),
  };
}

export function taskIdOf(state: PictureState): string | null {
  return "taskId" in state ? state.taskId : null;
}

/** Whether nothing more will happen to it. */
export function isSettled(state: PictureState): boolean {
  return state.kind === "done" || state.kind === "failed" || state.kind === "cancelled";
}
