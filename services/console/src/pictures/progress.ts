// One picture's way: submitted, followed, and settled.

import { ApiError, SpotterError } from "spotter-detection";
import { explain, explainFailure } from "../api/problem";
import { type Task, followTask, submit } from "../api/tasks";
import { pause } from "../pause";
import { texts } from "../texts";
import { type Picture, type PictureState, isSettled, taskIdOf } from "./picture";
import { Pool } from "./pool";

// A browser opens six connections to a server. Five are for pictures, so that one is left for everything else.
const uploads = new Pool(2);
const follows = new Pool(3);

/** How often a picture is submitted again where the API has no room. */
const MOST_TRIES = 30;
const PAUSE_SECONDS = 2;

/** Takes a picture from wherever it stands to its end. Does not throw: what goes wrong becomes its state. */
export async function progress(picture: Picture): Promise<void> {
  try {
    let taskId = taskIdOf(picture.state.value);
    if (taskId === null) {
      const task = await uploads.run(() => submitted(picture));
      if (task === null) return;
      show(picture, task);
      taskId = task.task_id;
    }
    const id = taskId;
    if (!isSettled(picture.state.value)) await follows.run(() => followed(picture, id));
  } catch (error) {
    // Who cancels sets the state.
    if (picture.abort.signal.aborted) return;
    const taskId = taskIdOf(picture.state.value);
    picture.state.value = { kind: "failed", taskId, explanation: explain(error) };
  }
}

/** Submits a picture, later again while the API has no room; `null`: it was cancelled, or its bytes are lost. */
async function submitted(picture: Picture): Promise<Task | null> {
  const { content, submission, abort } = picture;
  if (abort.signal.aborted) return null;
  if (content === null) {
    picture.state.value = { kind: "failed", taskId: null, explanation: texts.lostPicture };
    return null;
  }
  for (let tries = 1; ; tries++) {
    picture.state.value = { kind: "uploading" };
    try {
      return await submit(submission, content, { idempotencyKey: picture.id, signal: abort.signal });
    } catch (error) {
      if (!(error instanceof SpotterError && error.isTemporary) || tries === MOST_TRIES) throw error;
      picture.state.value = { kind: "waiting", note: explain(error).what };
      const retryAfter = error instanceof ApiError ? error.retryAfter : undefined;
      await pause((retryAfter || PAUSE_SECONDS) * 1000, abort.signal);
    }
  }
}

async function followed(picture: Picture, taskId: string): Promise<void> {
  for await (const task of followTask(taskId, picture.abort.signal)) show(picture, task);
}

function show(picture: Picture, task: Task): void {
  // An event that was on its way when the picture was cancelled.
  if (!isSettled(picture.state.value)) picture.state.value = stateOf(task);
}

function stateOf(task: Task): PictureState {
  const taskId = task.task_id;
  switch (task.state) {
    case "QUEUED":
      return { kind: "queued", taskId };
    case "STARTED":
      return { kind: "started", taskId };
    case "SUCCESS":
      return { kind: "done", taskId, task };
    case "REVOKED":
      return { kind: "cancelled", taskId };
    case "EXPIRED":
      return { kind: "failed", taskId, explanation: texts.expired };
    case "FAILURE": {
      const { reason = "", message = texts.noReason } = task.failure ?? {};
      return { kind: "failed", taskId, explanation: explainFailure(reason, message) };
    }
  }
}
