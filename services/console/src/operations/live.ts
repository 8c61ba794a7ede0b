// The stream of snapshots while the view is shown, and the state of its connection.

import { effect, signal } from "@preact/signals";
import { ApiError, SpotterError } from "spotter-detection";
import { apiKey, question } from "../api/key";
import { type Operations, snapshots } from "../api/operations";
import { type Explanation, explain } from "../api/problem";
import { pause } from "../pause";
import { texts } from "../texts";
import { type Point, extended } from "./history";

export type Connection =
  | { kind: "connecting" }
  | { kind: "live" }
  /** It is opened again. */
  | { kind: "lost"; explanation: Explanation }
  /** It is not: the same request would be refused again. */
  | { kind: "refused"; problem: string; explanation: Explanation };

export const connection = signal<Connection>({ kind: "connecting" });

/** The last snapshot; `null` before the first one. */
export const latest = signal<Operations | null>(null);

export const history = signal<readonly Point[]>([]);

// Whoever gives another key may not see what this one has shown.
apiKey.subscribe(() => {
  latest.value = null;
  history.value = [];
});

/** Snapshots come about once a second. A connection that is silent for so long is broken. */
const MOST_SILENCE_MS = 10_000;

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

/** Takes snapshots until `stop`, and opens the stream again where it breaks. Does not throw. */
export async function watch(stop: AbortSignal): Promise<void> {
  connection.value = { kind: "connecting" };
  for (let failures = 0; !stop.aborted; failures++) {
    let retryAfterMs = 0;
    try {
      for await (const snapshot of unlessSilent(stop)) {
        failures = 0;
        latest.value = snapshot;
        history.value = extended(history.value, snapshot);
        connection.value = { kind: "live" };
      }
      connection.value = { kind: "lost", explanation: texts.operations.streamEnded };
    } catch (error) {
      if (stop.aborted) return;
      const refusal = refusalOf(error);
      if (refusal) {
        connection.value = { kind: "refused", problem: refusal.kind, explanation: explain(refusal) };
        return;
      }
      connection.value = { kind: "lost", explanation: lossOf(error) };
      if (error instanceof ApiError) retryAfterMs = (error.retryAfter ?? 0) * 1000;
    }
    const backoffMs = Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS);
    await pause(Math.max(backoffMs, retryAfterMs), stop).catch(() => undefined);
  }
}

function refusalOf(error: unknown): ApiError | null {
  return error instanceof ApiError && !error.isTemporary && error.status < 500 ? error : null;
}

/** What a person is told of a stream that broke, or that could not be opened. */
function lossOf(error: unknown): Explanation {
  const wasOpen = connection.value.kind === "live";
  return error instanceof SpotterError && !wasOpen ? explain(error) : texts.operations.streamEnded;
}

/** The snapshots of one connection, which is given up if none comes in time. */
async function* unlessSilent(stop: AbortSignal): AsyncGenerator<Operations> {
  const silence = new AbortController();
  let timer: number | undefined;
  const startTimer = () => {
    clearTimeout(timer);
    timer = window.setTimeout(() => silence.abort(), MOST_SILENCE_MS);
  };
  // While a person is asked for the API key, the request waits for them: that is no silence of the connection.
  const leaveQuestions = effect(() => {
    if (question.value === null) startTimer();
    else clearTimeout(timer);
  });
  try {
    for await (const snapshot of snapshots(AbortSignal.any([stop, silence.signal]))) {
      clearTimeout(timer);
      yield snapshot;
      startTimer();
    }
  } finally {
    leaveQuestions();
    clearTimeout(timer);
  }
}
