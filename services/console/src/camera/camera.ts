// The camera: one frame after the other is sent, each when the one before is answered.

import { computed, signal } from "@preact/signals";
import { ApiError } from "spotter-detection";
import { chosenModel } from "../api/models";
import { type Explanation, explain, explainFailure } from "../api/problem";
import { type Task, detectNow, isFinished } from "../api/tasks";
import { pause } from "../pause";
import { chosenTiles } from "../pictures/tiles";
import { cameraView } from "../results/shown";
import { texts } from "../texts";

const JPEG_QUALITY = 0.85;
const MOST_WIDTH = 1280;
/** Over how many answers the pace is averaged. */
const PACE_OF = 10;

type CameraState =
  | { kind: "off" }
  | { kind: "starting" }
  | { kind: "on" }
  | { kind: "failed"; explanation: Explanation };

export const camera = signal<CameraState>({ kind: "off" });

const answeredAt = signal<number[]>([]);

/** Frames in a second; `null` before there are two answers. */
export const pace = computed(() => {
  const times = answeredAt.value;
  const [first, last] = [times[0], times[times.length - 1]];
  if (first === undefined || last === undefined || last === first) return null;
  return ((times.length - 1) * 1000) / (last - first);
});

let running: AbortController | null = null;

export async function startCamera(): Promise<void> {
  stopCamera();
  const stop = new AbortController();
  running = stop;
  camera.value = { kind: "starting" };
  try {
    const video = await opened(stop.signal);
    if (stop.signal.aborted) return;
    camera.value = { kind: "on" };
    answeredAt.value = [];
    while (!stop.signal.aborted) await answerFrame(video, stop.signal);
  } catch (error) {
    if (stop.signal.aborted) return;
    stop.abort();
    camera.value = { kind: "failed", explanation: explanationOf(error) };
  }
}

export function stopCamera(): void {
  running?.abort();
  running = null;
  camera.value = { kind: "off" };
  showFrame(null);
}

/** A video of the camera, which is closed with `signal`. */
async function opened(signal: AbortSignal): Promise<HTMLVideoElement> {
  // Browsers have it on `https` and on localhost only.
  if (!navigator.mediaDevices) throw new DOMException(texts.camera.insecure, "SecurityError");
  const stream = await navigator.mediaDevices.getUserMedia({
    video: { facingMode: "environment", width: { ideal: MOST_WIDTH } },
  });
  const close = () => stream.getTracks().forEach((track) => track.stop());
  if (signal.aborted) close();
  signal.addEventListener("abort", close);
  const video = document.createElement("video");
  video.muted = true;
  video.srcObject = stream;
  await video.play();
  return video;
}

async function answerFrame(video: HTMLVideoElement, signal: AbortSignal): Promise<void> {
  const frame = await frameOf(video);
  const task = await answered(frame, signal);
  if (signal.aborted) return;
  if (task.failure) throw new FailedFrame(explainFailure(task.failure.reason, task.failure.message));
  // Workers are busy with others: a later frame has its turn.
  if (!isFinished(task) || task.state === "EXPIRED") return;
  // The frame is decoded before it is shown, so that its boxes never lie over another one.
  const url = URL.createObjectURL(frame);
  const image = new Image();
  image.src = url;
  await image.decode();
  const { width = video.videoWidth, height = video.videoHeight, objects = [] } = task;
  showFrame({ name: texts.camera.name, url, width, height, objects });
  answeredAt.value = [...answeredAt.value, performance.now()].slice(-PACE_OF);
}

/** The result of a frame, which is sent again while the API has no room. */
async function answered(frame: Blob, signal: AbortSignal): Promise<Task> {
  const submission = {
    name: "camera.jpg",
    mediaType: "image/jpeg",
    model: chosenModel.value,
    tiles: chosenTiles.value,
  };
  for (;;) {
    try {
      return await detectNow(submission, frame, signal);
    } catch (error) {
      if (!(error instanceof ApiError && error.retryAfter)) throw error;
      await pause(error.retryAfter * 1000, signal);
    }
  }
}

/** Shows a frame in place of the one before, whose memory is freed once the page has another. */
function showFrame(frame: typeof cameraView.value): void {
  const before = cameraView.value?.url;
  cameraView.value = frame;
  if (before) setTimeout(() => URL.revokeObjectURL(before), 1000);
}

async function frameOf(video: HTMLVideoElement): Promise<Blob> {
  const scale = Math.min(1, MOST_WIDTH / video.videoWidth);
  const canvas = new OffscreenCanvas(video.videoWidth * scale, video.videoHeight * scale);
  canvas.getContext("2d")?.drawImage(video, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: JPEG_QUALITY });
}

class FailedFrame extends Error {
  constructor(readonly explanation: Explanation) {
    super(explanation.what);
  }
}

function explanationOf(error: unknown): Explanation {
  if (error instanceof FailedFrame) return error.explanation;
  if (!(error instanceof DOMException)) return explain(error);
  const advice: Record<string, string> = texts.camera.advice;
  return { what: error.message, advice: advice[error.name] ?? texts.camera.advice.other };
}
