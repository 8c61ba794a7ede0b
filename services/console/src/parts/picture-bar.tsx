// What is known of the picture that is shown, above it, and what can be done with it.

import type { Task } from "../api/tasks";
import { milliseconds } from "../format";
import { camera, pace, startCamera, stopCamera } from "../camera/camera";
import { showFailure } from "../notice";
import { cancel, remove, runAgain, selected } from "../pictures/list";
import { type Picture, isSettled } from "../pictures/picture";
import { texts } from "../texts";
import { Failed } from "./failed";

export function PictureBar() {
  if (camera.value.kind !== "off") return <CameraBar />;
  const picture = selected.value;
  return picture ? <Bar picture={picture} /> : null;
}

function Bar({ picture }: { picture: Picture }) {
  const state = picture.state.value;
  return (
    <div class="bar">
      <div class="bar-line">
        <h2 title={picture.submission.name}>{picture.submission.name}</h2>
        <span class="badge" data-state={state.kind}>
          {texts.states[state.kind]}
        </span>
        <span class="bar-actions">
          {isSettled(state) ? (
            <>
              {picture.content && (
                <button type="button" onClick={() => runAgain(picture)}>
                  {texts.picture.again}
                </button>
              )}
              <button type="button" onClick={() => remove(picture)}>
                {texts.picture.remove}
              </button>
            </>
          ) : (
            <button type="button" onClick={() => void cancel(picture).catch(showFailure)}>
              {texts.picture.cancel}
            </button>
          )}
        </span>
      </div>
      {state.kind === "failed" ? (
        <Failed {...state.explanation} />
      ) : (
        <p class="bar-detail">
          {state.kind === "done" && summary(state.task)}
          {state.kind === "waiting" && state.note}
        </p>
      )}
      {state.kind === "done" && state.task.warnings?.map((warning) => (
        <p class="warning" key={warning}>
          {texts.picture.warning}: {warning}
        </p>
      ))}
    </div>
  );
}

function CameraBar() {
  const state = camera.value;
  return (
    <div class="bar">
      <div class="bar-line">
        <h2>{texts.camera.name}</h2>
        <span class="bar-actions">
          {state.kind === "failed" && (
            <button type="button" onClick={() => void startCamera()}>
              {texts.picture.again}
            </button>
          )}
          <button type="button" onClick={stopCamera}>
            {texts.camera.stop}
          </button>
        </span>
      </div>
      <p class="bar-detail">
        {state.kind === "starting" && texts.camera.starting}
        {state.kind === "on" && pace.value !== null && texts.camera.pace(pace.value)}
      </p>
      {state.kind === "failed" && <Failed {...state.explanation} />}
    </div>
  );
}

/** Size, model and times. */
function summary(task: Task): string {
  const { width, height, model, timings, tiles, cached } = task;
  const parts = [`${width} × ${height}`, texts.picture.by(model)];
  if (tiles !== undefined) parts.push(texts.picture.inTiles(tiles));
  if (cached) parts.push(texts.picture.cached);
  else if (timings) {
    const { queue_ms = 0, decode_ms, letterbox_ms, infer_ms, boxes_ms } = timings;
    const total = queue_ms + decode_ms + letterbox_ms + infer_ms + boxes_ms;
    parts.push(texts.picture.times(milliseconds(total), milliseconds(infer_ms)));
  }
  return parts.join(" · ");
}
