// Many pictures, a few at a time, in order.

import { ApiError, SpotterError, TaskFailedError, WaitTimeoutError } from "./errors.js";
import type { PictureSource } from "./pictures.js";
import type { DetectOptions, Task } from "./types.js";

/** What became of one picture: a finished task, or an error. */
export type Outcome<P extends PictureSource = PictureSource> =
  | { picture: P; task: Task; error?: undefined }
  | { picture: P; task?: undefined; error: Error };

export interface DetectManyOptions extends Omit<DetectOptions, "idempotencyKey"> {
  /** How many pictures are in flight, and in memory. 8 by default. */
  parallel?: number | undefined;
  /** Another run of the same pictures is not answered with the tasks of the first one. */
  run?: string | undefined;
}

/** The outcomes of pictures, in order; at most `parallel` of them are in flight. */
export async function* outcomesOf<P extends PictureSource>(
  pictures: Iterable<P> | AsyncIterable<P>,
  parallel: number,
  signal: AbortSignal | undefined,
  detect: (picture: P, signal: AbortSignal) => Promise<Task>,
): AsyncGenerator<Outcome<P>> {
  if (!(parallel >= 1)) throw new RangeError(`parallel must be at least 1, and is ${parallel}`);
  const stop = new AbortController();
  const abort = () => stop.abort(signal?.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  const inFlight: Promise<Outcome<P>>[] = [];
  try {
    for await (const picture of pictures) {
      stop.signal.throwIfAborted();
      const outcome = outcomeOf(picture, detect(picture, stop.signal), stop.signal);
      // It is thrown when its turn has come; until then it is no unhandled one.
      outcome.catch(() => undefined);
      inFlight.push(outcome);
      if (inFlight.length >= parallel) yield await (inFlight.shift() as Promise<Outcome<P>>);
    }
    for (let next = inFlight.shift(); next; next = inFlight.shift()) yield await next;
  } finally {
    // The consumer has stopped, or an error has ended all.
    stop.abort();
    signal?.removeEventListener("abort", abort);
    await Promise.allSettled(inFlight);
  }
}

async function outcomeOf<P extends PictureSource>(
  picture: P,
  detecting: Promise<Task>,
  signal: AbortSignal,
): Promise<Outcome<P>> {
  try {
    return { picture, task: await detecting };
  } catch (error) {
    if (signal.aborted || !(error instanceof Error) || wouldComeAgain(error)) throw error;
    return { picture, error };
  }
}

/** Whether the next picture would have the same error: it is one of the API. */
function wouldComeAgain(error: Error): boolean {
  if (error instanceof ApiError) return error.isTemporary || error.status === 401 || error.kind === "scope-missing";
  const isOfPicture = error instanceof TaskFailedError || error instanceof WaitTimeoutError;
  return error instanceof SpotterError && !isOfPicture;
}
