// Many pictures, a few at a time, in order.

import { ApiError, SpotterError, TaskFailedError, WaitTimeoutError } from "./errors.js";
import type { PictureSource } from "./pictures.js";
import { unlessAborted } from "./time-limit.js";
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
  const source = new Source(pictures, stop.signal);
  const inFlight: Promise<Outcome<P>>[] = [];
  try {
    for (;;) {
      stop.signal.throwIfAborted();
      const next = inFlight.length < parallel ? source.next() : undefined;
      const [oldest] = inFlight;
      if (!next && !oldest) return;
      // The source may be slow: an outcome that is there does not wait for the next picture.
      const coming = [next, oldest?.then((outcome) => ({ outcome }))].filter((one) => one !== undefined);
      const first = await Promise.race(coming);
      if ("outcome" in first) {
        inFlight.shift();
        yield first.outcome;
        continue;
      }
      source.taken();
      if (first.done) continue;
      const outcome = outcomeOf(first.value, detect(first.value, stop.signal), stop.signal);
      // It is thrown when its turn has come; until then it is no unhandled one.
      outcome.catch(() => undefined);
      inFlight.push(outcome);
    }
  } finally {
    // The consumer has stopped, or an error has ended all.
    stop.abort();
    signal?.removeEventListener("abort", abort);
    await Promise.allSettled(inFlight);
    await source.close();
  }
}

/** Pictures, each requested when there is room for it. */
class Source<P> {
  readonly #iterator: Iterator<P> | AsyncIterator<P>;
  /** The picture that was requested, and has not been taken. */
  #requested: Promise<IteratorResult<P>> | undefined;
  #isWaiting = false;
  #hasEnded = false;

  constructor(
    pictures: Iterable<P> | AsyncIterable<P>,
    private readonly signal: AbortSignal,
  ) {
    this.#iterator = Symbol.asyncIterator in pictures ? pictures[Symbol.asyncIterator]() : pictures[Symbol.iterator]();
  }

  /** The next picture, or the end; the same one until it is taken. `undefined` behind the end. */
  next(): Promise<IteratorResult<P>> | undefined {
    if (this.#hasEnded && !this.#requested) return undefined;
    this.#requested ??= unlessAborted(this.#request(), this.signal);
    // It may be that nobody waits for it any more.
    this.#requested.catch(() => undefined);
    return this.#requested;
  }

  taken(): void {
    this.#requested = undefined;
  }

  /** Lets the iterable clean up. One that is still waiting for its next picture does so when that has come. */
  async close(): Promise<void> {
    if (this.#hasEnded) return;
    const closing = Promise.resolve(this.#iterator.return?.());
    if (this.#isWaiting) closing.catch(() => undefined);
    else await closing;
  }

  async #request(): Promise<IteratorResult<P>> {
    this.#isWaiting = true;
    try {
      const result = await this.#iterator.next();
      this.#hasEnded = result.done === true;
      return result;
    } catch (error) {
      // An iterator that throws has ended.
      this.#hasEnded = true;
      throw error;
    } finally {
      this.#isWaiting = false;
    }
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
